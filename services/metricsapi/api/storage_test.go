package api

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// TestSelectorsFindWhatMatches selects among many label sets, which are found by their labels, and compares with asking
// each object.
func TestSelectorsFindWhatMatches(t *testing.T) {
	d := &dice{Rand: rand.New(rand.NewPCG(6, 6))}
	catalog := newCatalog(nil)
	for i := range 2000 {
		labels, err := d.labels.Intern(fmt.Append(nil, i%400), func([]byte) (map[string]string, error) {
			n := i % 400
			return map[string]string{"app": fmt.Sprint(n / 4), "tier": fmt.Sprint(n % 3), "unique": fmt.Sprint(n)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		catalog.pods.Apply([]string{"shop", "bank"}[i%2], fmt.Sprint("pod-", i), pod{labels: labels})
	}
	for text, least := range map[string]int{
		"app=7": 20, "app==7,tier=1": 1, "app in (7)": 20, "app in (7,8)": 40, "unique in (1,2,3),tier=1": 1, "app=none": 0, "none=": 0,
		"app=7,app=8": 0, "app!=7": 1900, "app": 2000, "!app": 0, "app notin (7,8),unique=3": 5, "unique>397": 5, "unique=3,unique>1": 5,
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"", "shop", "bank", "nowhere"} {
			var want []*view.Entry[pod]
			for _, entry := range catalog.pods.All() {
				if (namespace == "" || entry.Namespace == namespace) && selector.Matches(labels.Set(entry.Value.labels.Map())) {
					want = append(want, entry)
				}
			}
			got := selectEntries(catalog.pods, namespace, &metainternalversion.ListOptions{LabelSelector: selector})
			if !slices.Equal(got, want) || namespace == "" && len(got) < least {
				t.Errorf("%s in %q: %d pods, want %d, of those at least %d", text, namespace, len(got), len(want), least)
			}
		}
	}
}
