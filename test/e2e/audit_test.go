package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// audit is the API server's own record of what it was asked: every list and watch, and all that the exporters' users did.
type audit struct{ policy, log string }

// exporters is the group of the users that exporters get, where a test says what these ask the API server.
const exporters = "headwater-exporters"

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, userGroups: [` + exporters + `]}
- {level: Metadata, verbs: [list, watch]}
- {level: None}
`

func newAudit(dir string) (audit, error) {
	a := audit{policy: filepath.Join(dir, "audit-policy.yaml"), log: filepath.Join(dir, "audit.log")}
	return a, os.WriteFile(a.policy, []byte(auditPolicy), 0o600)
}

// args are those of the API server.
func (a audit) args() []string {
	return []string{"--audit-policy-file=" + a.policy, "--audit-log-path=" + a.log}
}

// request is one that the API server was asked.
type request struct {
	Stage, Verb, RequestURI, UserAgent string
	User                               struct {
		Username string
		Groups   []string
	}
	ObjectRef struct{ Resource, APIGroup, Namespace string }
}

func (r request) String() string {
	return fmt.Sprintf("%s (%s) did %s %s", r.User.Username, r.UserAgent, r.Verb, r.RequestURI)
}

// lists tells whether the request is for all objects of a kind: a list, or a watch that begins with one.
func (r request) lists() bool {
	return r.Verb == "list" || r.Verb == "watch" && strings.Contains(r.RequestURI, "sendInitialEvents=true")
}

// now is a place in the record: what is asked from now on comes behind it.
func (a audit) now(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(a.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// since returns the requests behind a place that are wanted, each once.
func (a audit) since(t *testing.T, place int64, wanted func(request) bool) []request {
	t.Helper()
	text, err := os.ReadFile(a.log)
	if err != nil {
		t.Fatal(err)
	}
	text = text[bytes.LastIndexByte(text[:place], '\n')+1:] // a line may have been half written then
	text = text[:bytes.LastIndexByte(text, '\n')+1]         // and the last one may be now
	var all []request
	for line := range bytes.Lines(text) {
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("the audit log has a line that is none: %v: %s", err, line)
		}
		// A watch is told of when it begins and when it ends.
		if (r.Stage == "ResponseComplete") == (r.Verb == "watch") || !wanted(r) {
			continue
		}
		all = append(all, r)
	}
	return all
}
