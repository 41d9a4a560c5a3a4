package scraper

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/headwater-metrics/headwater/services/internal/stream"
)

// fixedLease is how long an ingester with a fixed share counts after it was last heard. Nobody waits for it, so it need not
// speak often.
const fixedLease = time.Minute

// attend tells the others of a fixed share until ctx ends, and returns its error. Nothing that fails here keeps an ingester
// from scraping its share.
func (s *share) attend(ctx context.Context) error {
	if err := s.members.Run(ctx, nil); ctx.Err() == nil {
		s.log.Warn("couldn't tell the other ingesters of this one's fixed share, so nobody will warn of two that scrape the same nodes", "error", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// overlap counts the ingesters that scrape nodes of this one too, of those that it doesn't divide the nodes with, and warns
// of them when the first one comes.
func (s *share) overlap(others []stream.Other) {
	var names []string
	n := 0
	for _, o := range others {
		if !common(s.part, o.Part) || selectorOf(o.Settings) != selectorOf(s.settings) {
			continue // other nodes, or perhaps so
		}
		if n++; n <= maxNames {
			names = append(names, fmt.Sprintf("%s (%s)", o.Name, partText(o.Part)))
		}
	}
	switch before := s.overlaps.Swap(int64(n)); {
	case before == 0 && n > 0:
		s.log.Warn("other ingesters scrape nodes of this one too, for ever: the answers stay right, and these kubelets are asked more often than they should be. "+
			"Run one ingester for each --shard, all with the same --total-shards, and none without them beside; ignore this if some of them are about to end",
			"this", partText(s.part), "others", n, "names", names)
	case before > 0 && n == 0:
		s.log.Info("no other ingester scrapes nodes of this one any more", "this", partText(s.part))
	}
}

// common tells whether there are nodes that both have. Those without a part have some with everybody. A node that a shard has
// among many is its own among fewer, too, as long as there is one of its number; see slots.
func common(a, b stream.Part) bool {
	if a.Of > b.Of {
		a, b = b, a
	}
	return a.Of == 0 || a.Number == b.Number || b.Number >= a.Of
}

// partText says what an ingester scrapes, in the words of the flags.
func partText(p stream.Part) string {
	if p.Of == 0 {
		return "no --total-shards"
	}
	return fmt.Sprintf("--shard=%d --total-shards=%d", p.Number, p.Of)
}

// shareSettings is what should be the same in all that share the nodes.
func (c *Config) shareSettings() string {
	return fmt.Sprintf("resolution %v, source %s%s%q", c.MetricResolution, c.Source, beforeSelector, c.NodeSelector)
}

// beforeSelector is what the selector stands behind in the settings, in all versions.
const beforeSelector = ", selector "

// selectorOf returns the node selector in somebody's settings.
func selectorOf(settings string) string {
	_, selector, _ := strings.Cut(settings, beforeSelector)
	return selector
}
