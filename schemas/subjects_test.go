package schemas_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/headwater-metrics/headwater/schemas"
)

// vectors is testdata/subjects.json, which readers in other languages test themselves with.
type vectors struct {
	Tokens    []struct{ Name, Token string }
	BadTokens []string
	Usage     []struct {
		Subject string
		schemas.UsageSubject
	}
	Scrape []struct {
		Subject string
		schemas.ScrapeSubject
	}
	Object []struct {
		Subject string
		schemas.ObjectSubject
	}
	Snapshot []struct {
		Subject string
		schemas.SnapshotSubject
	}
	Bad       []struct{ Subject, Error string }
	Wildcards []struct{ Of, Subject string }
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/subjects.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Tokens) == 0 || len(v.BadTokens) == 0 || len(v.Usage) == 0 || len(v.Scrape) == 0 || len(v.Object) == 0 || len(v.Snapshot) == 0 || len(v.Bad) == 0 || len(v.Wildcards) == 0 {
		t.Fatal("testdata/subjects.json lacks vectors of some kind")
	}
	return v
}

func TestTokens(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Tokens {
		if got := schemas.EscapeToken(c.Name); got != c.Token {
			t.Errorf("EscapeToken(%q) = %q, want %q", c.Name, got, c.Token)
		}
		if got, err := schemas.UnescapeToken(c.Token); err != nil || got != c.Name {
			t.Errorf("UnescapeToken(%q) = %q, %v, want %q", c.Token, got, err, c.Name)
		}
	}
	for _, token := range v.BadTokens {
		if got, err := schemas.UnescapeToken(token); !errors.Is(err, schemas.ErrSubject) {
			t.Errorf("UnescapeToken(%q) = %q, %v, want ErrSubject", token, got, err)
		}
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	token := schemas.EscapeToken(string(every))
	if got, err := schemas.UnescapeToken(token); err != nil || got != string(every) {
		t.Errorf("every byte does not survive its token: %q, %v", got, err)
	}
}

func TestSubjects(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Usage {
		if got := c.UsageSubject.String(); got != c.Subject {
			t.Errorf("%+v is %q, want %q", c.UsageSubject, got, c.Subject)
		}
		if got, err := schemas.ParseUsageSubject(c.Subject); err != nil || got != c.UsageSubject {
			t.Errorf("%q is %+v, %v, want %+v", c.Subject, got, err, c.UsageSubject)
		}
	}
	for _, c := range v.Scrape {
		if got := c.ScrapeSubject.String(); got != c.Subject {
			t.Errorf("%+v is %q, want %q", c.ScrapeSubject, got, c.Subject)
		}
		if got, err := schemas.ParseScrapeSubject(c.Subject); err != nil || got != c.ScrapeSubject {
			t.Errorf("%q is %+v, %v, want %+v", c.Subject, got, err, c.ScrapeSubject)
		}
	}
	for _, c := range v.Object {
		if got := c.ObjectSubject.String(); got != c.Subject {
			t.Errorf("%+v is %q, want %q", c.ObjectSubject, got, c.Subject)
		}
		if got, err := schemas.ParseObjectSubject(c.Subject); err != nil || got != c.ObjectSubject {
			t.Errorf("%q is %+v, %v, want %+v", c.Subject, got, err, c.ObjectSubject)
		}
	}
	for _, c := range v.Snapshot {
		if got := c.SnapshotSubject.String(); got != c.Subject {
			t.Errorf("%+v is %q, want %q", c.SnapshotSubject, got, c.Subject)
		}
		if got, err := schemas.ParseSnapshotSubject(c.Subject); err != nil || got != c.SnapshotSubject {
			t.Errorf("%q is %+v, %v, want %+v", c.Subject, got, err, c.SnapshotSubject)
		}
	}
	for _, c := range v.Bad {
		want := schemas.ErrSubject
		if c.Error == "version" {
			want = schemas.ErrVersion
		}
		for family, err := range parseErrors(c.Subject) {
			if !errors.Is(err, want) {
				t.Errorf("%q as the subject of %s gives %v, want %v", c.Subject, family, err, want)
			}
		}
	}
	// A subject of one family is none of another.
	for _, c := range v.Scrape {
		if _, err := schemas.ParseUsageSubject(c.Subject); !errors.Is(err, schemas.ErrSubject) {
			t.Errorf("%q was read as a subject of usage: %v", c.Subject, err)
		}
	}
	for _, c := range v.Usage {
		if _, err := schemas.ParseScrapeSubject(c.Subject); !errors.Is(err, schemas.ErrSubject) {
			t.Errorf("%q was read as a subject of scrape reports: %v", c.Subject, err)
		}
	}
	for _, c := range v.Object {
		if _, err := schemas.ParseUsageSubject(c.Subject); !errors.Is(err, schemas.ErrSubject) {
			t.Errorf("%q was read as a subject of usage: %v", c.Subject, err)
		}
	}
}

// parseErrors is what each parser says about a subject.
func parseErrors(subject string) map[string]error {
	_, usage := schemas.ParseUsageSubject(subject)
	_, scrape := schemas.ParseScrapeSubject(subject)
	_, object := schemas.ParseObjectSubject(subject)
	_, snapshot := schemas.ParseSnapshotSubject(subject)
	return map[string]error{"usage": usage, "a scrape report": scrape, "an object": object, "a snapshot": snapshot}
}

func TestWildcards(t *testing.T) {
	v := readVectors(t)
	want := map[string]string{}
	for _, w := range v.Wildcards {
		want[w.Of] = w.Subject
	}
	for of, got := range map[string]string{
		"everything of a cluster":            schemas.AllOf("prod"),
		"the usage of every node":            schemas.AllUsage("prod"),
		"the scrape report of every node":    schemas.AllScrapes("prod"),
		"every object":                       schemas.AllObjects("prod"),
		"every pod":                          schemas.ObjectsOfResource("prod", "", "pods"),
		"every object of the namespace shop": schemas.ObjectsOfNamespace("prod", "shop"),
		"every pod of the namespace shop":    schemas.ObjectsOfResourceInNamespace("prod", "", "pods", "shop"),
		"every cluster-scoped object":        schemas.ObjectsOfNamespace("prod", ""),
	} {
		if got != want[of] {
			t.Errorf("the wildcard for %s is %q, want %q", of, got, want[of])
		}
	}
	if got, want := schemas.AllSnapshots("prod"), "k8s.v1.prod.snapshot.>"; got != want {
		t.Errorf("the wildcard for snapshots is %q, want %q", got, want)
	}
	if got, want := schemas.AvailabilitySubject("a.b"), "k8s.v1.a_b.snapshot.availability"; got != want || !matches(schemas.AllSnapshots("a.b"), got) {
		t.Errorf("the availability's subject is %q, want %q", got, want)
	}
	if got, want := schemas.ObjectsOfResource("a.b", "core", "x"), "k8s.v1.a_b.object.%63ore.x.*.*"; got != want {
		t.Errorf("a wildcard does not escape: %q, want %q", got, want)
	}
	for _, c := range v.Object {
		s := c.ObjectSubject
		for _, w := range []string{
			schemas.AllOf(s.Cluster), schemas.AllObjects(s.Cluster), schemas.ObjectsOfResource(s.Cluster, s.Group, s.Resource),
			schemas.ObjectsOfNamespace(s.Cluster, s.Namespace), schemas.ObjectsOfResourceInNamespace(s.Cluster, s.Group, s.Resource, s.Namespace),
		} {
			if !matches(w, c.Subject) {
				t.Errorf("%q does not match %q", w, c.Subject)
			}
		}
	}
}

// matches is what a NATS server does with a wildcard.
func matches(wildcard, subject string) bool {
	w, s := strings.Split(wildcard, "."), strings.Split(subject, ".")
	for i, token := range w {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(w) == len(s)
}

// TestSpecTables holds the tables of SPEC.md to the vectors: each vector is a row of it.
func TestSpecTables(t *testing.T) {
	raw, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	spec := string(raw)
	v := readVectors(t)
	has := func(s string) {
		if !strings.Contains(spec, "`"+s+"`") {
			t.Errorf("SPEC.md lacks the vector %q", s)
		}
	}
	for _, c := range v.Usage {
		has(c.Subject)
	}
	for _, c := range v.Scrape {
		has(c.Subject)
	}
	for _, c := range v.Object {
		has(c.Subject)
	}
	for _, c := range v.Wildcards {
		has(c.Subject)
	}
	for _, c := range v.Tokens {
		has(c.Token)
	}
}

func FuzzSubject(f *testing.F) {
	v := readVectors(f)
	for _, c := range v.Object {
		f.Add(c.Subject, c.Cluster, c.Group, c.Resource, c.Namespace, c.Name)
	}
	for _, c := range v.Bad {
		f.Add(c.Subject, "", "core", "_", ".", "\xff")
	}
	f.Fuzz(func(t *testing.T, subject, cluster, group, resource, namespace, name string) {
		// Whatever is parsed builds the same text; whatever is not says why in one of two ways.
		if s, err := schemas.ParseObjectSubject(subject); err == nil {
			if got := s.String(); got != subject {
				t.Errorf("%q is %+v, which is %q", subject, s, got)
			}
		}
		if s, err := schemas.ParseUsageSubject(subject); err == nil && s.String() != subject {
			t.Errorf("%q is %+v, which is %q", subject, s, s.String())
		}
		if s, err := schemas.ParseScrapeSubject(subject); err == nil && s.String() != subject {
			t.Errorf("%q is %+v, which is %q", subject, s, s.String())
		}
		if s, err := schemas.ParseSnapshotSubject(subject); err == nil && s.String() != subject {
			t.Errorf("%q is %+v, which is %q", subject, s, s.String())
		}
		for family, err := range parseErrors(subject) {
			if err != nil && !errors.Is(err, schemas.ErrSubject) && !errors.Is(err, schemas.ErrVersion) {
				t.Errorf("%q as the subject of %s gives %v", subject, family, err)
			}
		}
		// Whatever is built parses to the same names.
		o := schemas.ObjectSubject{Cluster: cluster, Group: group, Resource: resource, Namespace: namespace, Name: name}
		got, err := schemas.ParseObjectSubject(o.String())
		if cluster == "" || resource == "" || name == "" {
			if !errors.Is(err, schemas.ErrSubject) {
				t.Errorf("%q has an empty name and was read: %v", o.String(), err)
			}
			return
		}
		if err != nil || got != o {
			t.Errorf("%+v is %q, which is %+v, %v", o, o.String(), got, err)
		}
		u := schemas.UsageSubject{Cluster: cluster, Node: name}
		if got, err := schemas.ParseUsageSubject(u.String()); err != nil || got != u {
			t.Errorf("%+v is %q, which is %+v, %v", u, u.String(), got, err)
		}
		if strings.ContainsAny(o.String(), " *>\t\r\n\x00") || strings.Contains(o.String(), "..") || strings.Count(o.String(), ".") != 7 {
			t.Errorf("%+v is %q, which is not a subject that may be published", o, o.String())
		}
	})
}
