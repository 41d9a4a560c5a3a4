package api

import (
	"context"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-metrics/headwater/services/internal/view"
)

// A resourceVersion is how far the two streams were read. All replicas read the same streams, so that each understands the
// versions of the others. From the highest bit on:
//
//	40 bits  the usage's sequence
//	 1 bit   whether somebody is in the middle of what he is told: see view.Place
//	23 bits  the last ones of the objects' sequence
const (
	objectsBits = 23
	objectsMask = 1<<objectsBits - 1
	partBit     = 1 << objectsBits
	usageShift  = objectsBits + 1
)

// versionOf is the resourceVersion of a place.
func versionOf(p view.Place) uint64 {
	version := p.Usage<<usageShift | p.Objects&objectsMask
	if p.Part {
		version |= partBit
	}
	return version
}

// placeOf is the place of a resourceVersion, for somebody who is near it: of the objects' sequences that end in its bits,
// the one that is nearest to his.
func placeOf(version uint64, near view.Place) view.Place {
	const half, whole = 1 << (objectsBits - 1), 1 << objectsBits
	objects := near.Objects&^objectsMask | version&objectsMask
	switch {
	case objects > near.Objects+half && objects >= whole:
		objects -= whole
	case objects+half < near.Objects:
		objects += whole
	}
	return view.Place{Usage: version >> usageShift, Objects: objects, Part: version&partBit != 0}
}

// parseVersion reads a resourceVersion that a client sent; 0 for none, and for "0", any.
func parseVersion(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("resourceVersion %q is no number; take one that a list or a watch of this API has given, or none", text))
	}
	return version, nil
}

// patience is how long a request waits for a version that this replica has not read up to.
const patience = 3 * time.Second

// await waits until what is followed covers a version that somebody was given, maybe by another replica, and returns the
// version's place, and the era in which it is one; with 0, until anything is followed. While a stream is read once more, nobody is
// sent away who would come again at once.
func (w *watches) await(ctx context.Context, version uint64) (view.Place, *era, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		w.mu.RLock()
		current, former, era, following, over := w.place(), w.former, w.era, w.following(), w.over
		w.mu.RUnlock()
		place := placeOf(version, current)
		switch {
		case over:
			return place, era, unavailable(errNotFollowing)
		case !following:
		case version == 0, current.Covers(place):
			return place, era, nil
		case former.Covers(placeOf(version, former)):
			return place, era, expiredVersion(version, current) // of a stream that was recreated
		}
		select {
		case <-ctx.Done():
			if !following {
				return place, era, unavailable(errNotFollowing)
			}
			return place, era, tooLarge(version, current)
		case <-ticker.C:
		}
	}
}

// expiredVersion says that what happened since a version isn't known any more; clients list again.
func expiredVersion(version uint64, current view.Place) error {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", version, versionOf(current)))
}

// tooLarge says that this replica has not read up to a version, in the form in which the API server says it: clients know
// its cause and list what there is.
func tooLarge(version uint64, current view.Place) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", version, versionOf(current)), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}
