package linger_test

import (
	"fmt"
	"time"

	"github.com/headwater-metrics/headwater/services/exporter/collector"
	"github.com/headwater-metrics/headwater/services/exporter/exposition"
	"github.com/headwater-metrics/headwater/services/exporter/linger"
)

// A view of the exporter has a queue beside its store.
func Example() {
	resources, err := collector.New(collector.Options{Resources: []string{"pods"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	store := exposition.NewStore(resources)
	queue := linger.New(time.Minute, func(o linger.Object) { store.Table(o.Table).Delete(o.Key(), o.UID) })
	ends := make([]int, len(resources[0].Families))
	now := time.Now()

	// An object that was created or changed: first the queue, then the store.
	queue.Put(0, "shop", "web-0")
	store.Table(0).Put("shop/web-0", "uid-1", nil, ends)
	// A deletion, with the time of its event (schemas.ObjectChange.Time).
	queue.Delete(linger.Object{Table: 0, Resource: "pods", Namespace: "shop", Name: "web-0", UID: "uid-1"}, now, now)

	scrape := func(now time.Time) {
		queue.Expire(now)
		groups := store.Snapshot().Groups()
		if g, ok := queue.Group(); ok {
			groups = append(groups, g)
		}
		fmt.Println(len(groups), "groups,", store.Table(0).Objects(), "objects")
	}
	scrape(now.Add(30 * time.Second))
	scrape(now.Add(time.Minute))
	// Output:
	// 2 groups, 1 objects
	// 0 groups, 0 objects
}
