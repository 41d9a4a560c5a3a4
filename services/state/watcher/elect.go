package watcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// elect stands by until the Lease is ours, writes as long as it is, and so on until ctx ends.
func (s *Service) elect(ctx context.Context) error {
	lock, err := s.newLease()
	if err != nil {
		return err
	}
	return s.again(ctx, func() error { return s.candidacy(ctx, lock) })
}

// newLease is what the candidates hold.
func (s *Service) newLease() (resourcelock.Interface, error) {
	config := rest.CopyConfig(s.rest)
	config.Timeout = s.cfg.LeaderElection.RenewDeadline / 2
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a client for the leader election: %w", err)
	}
	l := s.cfg.LeaderElection
	if l.Identity == "" {
		host, _ := os.Hostname()
		l.Identity = host + "_" + rand.Text()
	}
	return &lease{log: s.log, LeaseLock: resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
	}}, nil
}

// lease is a Lease that tells of what goes wrong with it: once, and when it is over.
type lease struct {
	resourcelock.LeaseLock
	log  *slog.Logger
	said string // why it can't be used; "" where it can
}

func (l *lease) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.LeaseLock.Get(ctx)
	if !apierrors.IsNotFound(err) { // it is created then
		l.tell(ctx, err)
	}
	return record, raw, err
}

func (l *lease) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.LeaseLock.Create(ctx, record)
	l.tell(ctx, err)
	return err
}

func (l *lease) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := l.LeaseLock.Update(ctx, record)
	l.tell(ctx, err)
	return err
}

func (l *lease) tell(ctx context.Context, err error) {
	reason := reasonOf(err)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || errors.Is(err, context.Canceled) || reason == l.said {
		return // the other candidate was faster, or nothing new
	}
	l.said = reason
	switch {
	case err == nil:
		l.log.Info("the Lease can be used again", "lease", l.Describe())
	case reason == reasonForbidden:
		l.log.Error("can't use the Lease, trying on; allow get, create and update of leases in its namespace", "lease", l.Describe(), "error", err)
	default:
		l.log.Error("can't use the Lease, trying on; check that its namespace exists and the API server answers", "lease", l.Describe(), "error", err)
	}
}

// candidacy follows the log until the Lease is ours, and then writes until that ends.
func (s *Service) candidacy(ctx context.Context, lock resourcelock.Interface) error {
	l := s.cfg.LeaderElection
	// The Lease is held until the term is over, which may be after ctx.
	holding, release := context.WithCancel(context.WithoutCancel(ctx))
	leading := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: l.LeaseDuration, RenewDeadline: l.RenewDeadline, RetryPeriod: l.RetryPeriod,
		ReleaseOnCancel: true, Name: l.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { leading <- ctx },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				s.log.Info("leader", "identity", identity, "self", identity == lock.Identity())
			},
		},
	})
	if err != nil {
		release()
		return fmt.Errorf("%w: leader election: %w", stream.ErrConfig, err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		elector.Run(klog.NewContext(holding, klog.Logger{})) // lease tells what goes wrong
	}()
	defer func() { release(); <-over }()

	follower, err := s.follow(ctx)
	if err != nil {
		return err
	}
	defer follower.stop()
	var held context.Context
	select {
	case <-ctx.Done():
		return ctx.Err()
	case held = <-leading:
	}
	mayWrite, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(held, func() { cancel(errLeadershipLost) })()
	return s.term(ctx, mayWrite, follower)
}

// follower reads the log into a book, live.
type follower struct {
	replay *stream.Replay
	stop   context.CancelFunc
	done   chan struct{}
	book   *book // the newest that is whole; to be read when done is closed
}

// follow starts a follower.
func (s *Service) follow(ctx context.Context) (*follower, error) {
	f := &follower{done: make(chan struct{})}
	replay, err := stream.NewReplay(s.replay("state", func(b *book) {
		f.book = b
		s.book.Store(b)
	}))
	if err != nil {
		return nil, err
	}
	f.replay = replay
	s.setReady(replay.Ready)
	ctx, f.stop = context.WithCancel(ctx)
	go func() {
		defer close(f.done)
		_ = replay.Run(ctx) // ends with ctx only
	}()
	return f, nil
}

// take stops the follower and gives its book and how far that goes, if it is whole.
func (f *follower) take() (*book, stream.LogPosition, bool) {
	if f == nil {
		return nil, stream.LogPosition{}, false
	}
	f.stop()
	<-f.done
	p := f.replay.Position()
	return f.book, p.LogPosition, f.book != nil && p.Whole && !p.Rebuilding
}
