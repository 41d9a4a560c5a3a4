package scraper

import (
	"os"
	"time"

	"github.com/headwater-metrics/headwater/schemas"
)

// outcome is what came of a node's last scrape.
type outcome struct {
	began    time.Time // zero before the first
	took     time.Duration
	result   result // "" before the first
	err      string // one line; "" for a success
	url      string // that was asked; "" where the node has no address
	failures uint64 // in a row; 0 also where only the summary failed
	dropped  drops  // of the last good one
	pods     int    // that were published of it
}

// came notes what came of a scrape, and returns what had come of the one before.
func (t *timeline) came(target *Target, began time.Time, took time.Duration, err error) (was, is outcome) {
	is = outcome{began: began, took: took, result: resultSuccess, dropped: t.dropped, pods: t.pods}
	if target.URL != nil {
		is.url = target.URL.Redacted()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was = t.outcome
	if err != nil {
		is.result, is.err = resultOf(err, resultInternal), oneLine(err, schemas.MaxScrapeError)
		if without := lacksSummary(err); without != nil {
			is.url = without.url
		} else {
			is.failures = was.failures + 1
		}
	}
	if is.failures == 0 {
		t.success.Store(began.UnixNano())
	}
	t.outcome = is
	return was, is
}

// report is what was last published of a node besides its samples.
type report struct {
	at      time.Time // zero: nothing was
	dropped drops
}

// reportEvery is how often what a node's samples lack is told again while it stays the same: often enough for a reader that
// starts to know it soon, and for one that reads a report twice as old to know that it is over.
const reportEvery = 2 * time.Minute

// report publishes what came of a scrape where the node's samples don't tell: a failure, also of the summary alone, each time; the first success
// after one; and what was dropped, when it changes and now and then.
func (s *Service) report(t *timeline, was, is outcome, now time.Time) {
	last := &t.reported
	switch {
	case is.failures > 0, was.failures > 0, is.err != "", was.err != "":
	case !is.dropped.equal(last.dropped):
	case len(is.dropped.list) > 0 && now.Sub(last.at) >= reportEvery:
	default:
		return
	}
	wait, _ := next(is.began, now, t.phase, s.cfg.MetricResolution)
	message := schemas.ScrapeReport{
		Node: t.node, Ingester: s.ingester, Time: is.began.UnixNano(), Duration: int64(is.took), Result: string(is.result), Error: is.err,
		URL: is.url, Failures: is.failures, LastSuccess: t.success.Load(), Next: now.Add(wait).UnixNano(),
		Dropped: is.dropped.list, More: is.dropped.more,
	}
	payload := message.Marshal()
	for limit := s.cfg.Conn.MaxPayload(); len(payload) > limit && len(message.Dropped) > 0; payload = message.Marshal() {
		half := len(message.Dropped) / 2
		message.More += uint64(len(message.Dropped) - half)
		message.Dropped = message.Dropped[:half]
	}
	subject := schemas.ScrapeSubject{Cluster: s.cfg.Streams.Cluster, Node: t.node}.String()
	if err := s.publisher.PublishWhile(t.ctx, subject, payload); err != nil {
		if t.ctx.Err() != nil {
			return // the node is another ingester's now
		}
		s.metrics.reports.WithLabelValues(reportLost).Inc()
		s.log.Debug("couldn't publish a scrape report", "node", t.node, "error", err)
		return
	}
	s.metrics.reports.WithLabelValues(reportPublished).Inc()
	*last = report{at: now, dropped: is.dropped}
}

// The values of the result label of headwater_ingest_reports_total.
const (
	reportPublished = "published"
	reportLost      = "lost"
)

// hostName is what the ingester calls itself in its reports unless it is told: within Kubernetes the name of its pod.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "ingest"
	}
	return name
}
