package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func formatVersion(v uint64) string { return strconv.FormatUint(v, 10) }

// continueToken is what a page says about the next one: the version that all pages show, -1 for the newest, and the
// last key of the page.
type continueToken struct {
	Version int64  `json:"v"`
	After   string `json:"after"`
}

func (t continueToken) String() string {
	b, _ := json.Marshal(t) // two plain fields: cannot fail
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseContinue(text string) (continueToken, error) {
	var token continueToken
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &token)
	}
	if err != nil {
		return token, errors.NewBadRequest(fmt.Sprintf("continue key is not valid: %v", err))
	}
	return token, nil
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, q request) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	it, err := s.store.item(q.res, q.namespace, q.name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeItem(w, r, f, http.StatusOK, q.res, it)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, q request, query url.Values) {
	f, ok := s.accept(w, r)
	if !ok {
		return
	}
	items, meta, err := s.page(q, query)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeList(w, r, f, q.res, items, meta)
}

// page returns the items of a list request, or of the part of it that limit and continue ask for.
func (s *Server) page(q request, query url.Values) ([]*item, metav1.ListMeta, error) {
	var none metav1.ListMeta
	sel, err := newSelection(q.res, q.namespace, "", query)
	if err != nil {
		return nil, none, err
	}
	wanted, err := parseVersion(query.Get("resourceVersion"))
	if err != nil {
		return nil, none, err
	}
	limit, err := parseNumber("limit", query.Get("limit"))
	if err != nil {
		return nil, none, err
	}
	if query.Get("resourceVersion") == "0" {
		limit = 0 // the real server answers from its watch cache then, all at once
	}
	token := continueToken{Version: -1}
	match := metav1.ResourceVersionMatch(query.Get("resourceVersionMatch"))
	if text := query.Get("continue"); text != "" {
		if token, err = parseContinue(text); err != nil {
			return nil, none, err
		}
	} else if match == metav1.ResourceVersionMatchExact {
		token.Version = int64(wanted)
	} else if now := s.store.Version(); wanted > now {
		return nil, none, tooLarge(wanted, now)
	}
	all, version := s.store.snapshotNow(q.res)
	if token.Version >= 0 {
		then, ok := s.store.snapshotAt(q.res, uint64(token.Version))
		if !ok && token.After == "" {
			return nil, none, errors.NewResourceExpired("The resourceVersion for the provided list is too old.")
		}
		if !ok {
			expired := errors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list " +
				"without the continue parameter, or go on at the newest version with the token of this response.")
			expired.ErrStatus.Continue = continueToken{Version: -1, After: token.After}.String()
			return nil, none, expired
		}
		all, version = then, uint64(token.Version)
	}
	if token.After != "" {
		all = all[sort.Search(len(all), func(i int) bool { return all[i].key > token.After }):]
	}
	items := sel.filter(all)
	meta := metav1.ListMeta{ResourceVersion: formatVersion(version)}
	if limit > 0 && len(items) > limit {
		if sel.everything() {
			remaining := int64(len(items) - limit)
			meta.RemainingItemCount = &remaining
		}
		items = items[:limit]
		meta.Continue = continueToken{Version: int64(version), After: items[limit-1].key}.String()
	}
	return items, meta, nil
}

// tooLarge says that a client has seen a version that is still to come here: the server was set back, or is behind.
func tooLarge(wanted, now uint64) error {
	err := errors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", wanted, now), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

func parseVersion(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, errors.NewBadRequest(fmt.Sprintf("resourceVersion: Invalid value: %q: it must be a number", text))
	}
	return version, nil
}

func parseNumber(name, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, errors.NewBadRequest(fmt.Sprintf("%s: Invalid value: %q: it must be a number", name, text))
	}
	return n, nil
}
