package api

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
)

// addChecks adds the health checks, by the names and in the order of metrics-server's:
//
//	metric-storage-ready      /readyz    the usage is whole, and a node's is young enough to be served, or there are no nodes
//	metric-informer-sync      /readyz    the nodes and pods are whole
//	metric-collection-timely  /livez     the views can be swept: nobody holds their locks for ever
//	metadata-informer-sync    all three  always passes
func (s *Service) addChecks(server *genericapiserver.GenericAPIServer) error {
	return errors.Join(
		server.AddReadyzChecks(s.check("metric-storage-ready", s.storageReady)),
		server.AddReadyzChecks(s.check("metric-informer-sync", s.objectsReady)),
		server.AddLivezChecks(0, s.check("metric-collection-timely", s.timely)),
		server.AddHealthChecks(s.check("metadata-informer-sync", func() error { return nil })),
	)
}

// check is a health check. Its reason goes to the log, when it begins to fail and once a minute: the library withholds it from
// whoever asks.
func (s *Service) check(name string, check func() error) healthz.HealthChecker {
	var logged atomic.Pointer[time.Time] // when its reason last was; nil while it passes
	return healthz.NamedCheck(name, func(*http.Request) error {
		err := check()
		last, now := logged.Load(), time.Now()
		switch {
		case err == nil:
			if last != nil && logged.CompareAndSwap(last, nil) {
				s.cfg.Log.Info("a health check passes", "check", name)
			}
		case (last == nil || now.Sub(*last) >= time.Minute) && logged.CompareAndSwap(last, &now):
			s.cfg.Log.Warn("a health check fails", "check", name, "reason", err)
		}
		return err
	})
}

// timely fails when the sweep, which takes the views' locks, has not come round for long. A host's clock that is set doesn't
// matter to it.
func (s *Service) timely() error {
	last := s.lastSweep.Load()
	allowed := max(s.cfg.Options.Resolution*3/2, 15*time.Second)
	if last == nil {
		return nil
	}
	if late := time.Since(*last); late > allowed {
		return fmt.Errorf("the views have not been swept for %v", late.Round(time.Second))
	}
	return nil
}
