// Package schemas is the vocabulary of Headwater: the subjects and the messages that travel on them.
//
//	k8s.v1.<cluster>.usage.<node>                                 -> UsageSample, newest wins
//	k8s.v1.<cluster>.scrape.<node>                                -> ScrapeReport, newest wins
//	k8s.v1.<cluster>.object.<group>.<resource>.<namespace>.<name> -> ObjectChange, the object as it is now, or deleted
//	k8s.v1.<cluster>.snapshot.availability                        -> Availability, newest wins
//
// All messages are msgpack arrays whose positions are fixed by SPEC.md (the contract for readers in any language);
// fields are only ever added at the end. The package imports the standard library and msgpack, nothing else, because
// other teams import it.
package schemas

import (
	"errors"

	"github.com/headwater-metrics/headwater/schemas/wire"
)

// Version is the version of subjects and messages: the token "v1" of every subject and the first element of every
// message. A reader skips a message of another version (ErrVersion), counts it, and goes on.
const Version = 1

// Errors that decoders and parsers wrap; match them with errors.Is.
var (
	// ErrVersion: the message or subject is of a version that this code does not know.
	ErrVersion = errors.New("unknown version")
	// ErrMalformed: the bytes are not a message of this kind: truncated, of a wrong type, or with an impossible length.
	ErrMalformed = wire.ErrMalformed
	// ErrSubject: the text is not a subject of this kind.
	ErrSubject = errors.New("malformed subject")
)
