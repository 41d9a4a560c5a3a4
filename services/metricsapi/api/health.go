package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
)

// addChecks adds the health checks, by the names and in the order of metrics-server's:
//
//	metric-storage-ready      /readyz    the usage is whole; on a cluster without any, too
//	metric-informer-sync      /readyz    the nodes and pods are whole
//	metric-collection-timely  /livez     the views can be swept: nobody holds their locks for ever
//	metadata-informer-sync    all three  always passes
func (s *Service) addChecks(server *genericapiserver.GenericAPIServer) error {
	return errors.Join(
		server.AddReadyzChecks(s.check("metric-storage-ready", s.usageReady)),
		server.AddReadyzChecks(s.check("metric-informer-sync", s.objectsReady)),
		server.AddLivezChecks(0, s.check("metric-collection-timely", s.timely)),
		server.AddHealthChecks(s.check("metadata-informer-sync", func() error { return nil })),
	)
}

// check is a health check. Its reason goes to the log: the library withholds it from whoever asks.
func (s *Service) check(name string, check func() error) healthz.HealthChecker {
	return healthz.NamedCheck(name, func(*http.Request) error {
		err := check()
		if err != nil {
			s.cfg.Log.Debug("a health check failed", "check", name, "reason", err)
		}
		return err
	})
}

// timely fails when the sweep, which takes the views' locks, has not come round for long.
func (s *Service) timely() error {
	last := s.lastSweep.Load()
	allowed := max(s.cfg.Options.Resolution*3/2, 15*time.Second)
	if late := time.Duration(time.Now().UnixNano() - last); last != 0 && late > allowed {
		return fmt.Errorf("the views have not been swept for %v", late.Round(time.Second))
	}
	return nil
}
