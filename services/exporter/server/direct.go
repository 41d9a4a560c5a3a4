package server

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/headwater-metrics/headwater/services/internal/filewatch"
)

// direct makes the editions, one after the other, as the files and the shard have it, until ctx ends. It is the one that
// does.
func (s *Service) direct(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.editions.running.Wait()
	defer cancel()
	if s.shards == nil {
		if err := s.editions.begin(ctx, s.first); err != nil {
			return err
		}
	}
	watch := filewatch.Start(s.lookTime, s.log, s.paths()...)
	defer watch.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.editions.failed:
			return err
		case <-watch.Changed():
			s.reload(ctx)
			watch.Set(s.paths()...)
		case <-s.usageKnown:
			s.usageKnown = nil
			if s.delayed != nil {
				s.change(ctx, s.delayed)
			}
		case own := <-s.shards.changes():
			s.own = &own
			s.reshard(ctx, own)
		}
	}
}

// reload reads the files, if they have changed since, and has what they say built. What can't be used changes nothing.
func (s *Service) reload(ctx context.Context) {
	in, err := readInputs(s.flags)
	if s.unchanged(in) {
		return
	}
	s.files = in.files
	var next *settings
	if err == nil {
		next, err = in.settings(s.cluster, s.own)
	}
	for i := range in.files {
		if f := &in.files[i]; f.missing && f.err == nil && s.had(f) { // it may be missing, but only at the start
			f.err = &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrNotExist}
			err = errors.Join(err, f.err)
		}
	}
	s.metrics.loaded(in.files, err)
	if err != nil {
		s.metrics.reloadsFailed.Inc()
		s.log.Error("couldn't use the changed configuration, what is exported stays as it is: correct the file", "error", err)
		return
	}
	s.metrics.reloads.Inc()
	s.log.Info("read the changed configuration")
	s.warn(in)
	s.in = in
	s.tellKinds()
	if s.shards == nil || s.own != nil {
		s.change(ctx, next)
	}
}

// tellKinds tells which custom resources the configuration is about.
func (s *Service) tellKinds() {
	if s.kinds != nil {
		s.kinds(s.in.custom.Kinds())
	}
}

// reshard has the same built for another shard.
func (s *Service) reshard(ctx context.Context, own assignment) {
	next, err := s.in.settings(s.cluster, &own)
	if err != nil { // unreachable: they were good for another shard
		s.log.Error("couldn't change the shard", "error", err)
		return
	}
	s.log.Info("the StatefulSet says which shard this is", "shard", own.shard, "of", own.total)
	s.change(ctx, next)
}

// had tells whether what is exported comes from this file, among others.
func (s *Service) had(f *file) bool {
	return slices.ContainsFunc(s.in.files, func(old file) bool { return old.path == f.path && !old.missing })
}

// change has an edition built, unless the newest one exports the same.
func (s *Service) change(ctx context.Context, next *settings) {
	s.delayed = nil
	if serving := s.editions.serving.Load(); serving != nil && serving.usage == nil && next.usage != nil && s.usage.Load() == nil {
		s.log.Info("the changed configuration waits for the usage, which is not known yet")
		s.editions.abandon()
		s.delayed = next
		return
	}
	if newest := s.editions.newest(); newest != nil && newest.print == next.print {
		return
	}
	if serving := s.editions.serving.Load(); serving != nil && serving.print == next.print {
		s.editions.abandon() // back to what is served
		if s.editions.serving.Load() == serving {
			return
		}
	}
	if err := s.editions.begin(ctx, next); err != nil {
		s.log.Error("couldn't begin to build what is to be exported", "error", err)
	}
}

// unchanged tells whether the files are as they were when they were read last.
func (s *Service) unchanged(in *inputs) bool {
	if len(in.files) != len(s.files) {
		return false
	}
	for i := range in.files {
		if !in.files[i].same(&s.files[i]) {
			return false
		}
	}
	return true
}

// warn tells what of the inputs has no effect, or not yet.
func (s *Service) warn(in *inputs) {
	for _, key := range in.ignored {
		s.log.Warn("a key of the configuration file has no effect", "key", key, "instead", withoutEffect[key])
	}
	for _, flags := range needRestart(s.options, in.options) {
		s.log.Warn("a changed option takes effect when the exporter is started again", "option", flags)
	}
}

// paths are the files to watch.
func (s *Service) paths() []string {
	var paths []string
	for _, f := range s.files {
		paths = append(paths, f.path)
	}
	return paths
}
