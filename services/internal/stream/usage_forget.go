package stream

import "slices"

// Forget drops what is not stored yet of the subjects: they are no longer this writer's, and who has them has newer samples.
// What is on its way may still arrive, but is not sent again.
func (p *UsagePublisher) Forget(subjects map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for subject := range p.waiting {
		if subjects[subject] {
			delete(p.waiting, subject)
			p.metrics.dropped.WithLabelValues("forgotten").Inc()
		}
	}
	p.queue = slices.DeleteFunc(p.queue, func(subject string) bool { return subjects[subject] })
	for _, s := range p.inFlight {
		s.once = s.once || subjects[s.subject]
	}
	p.settled()
}
