// Package web decides over which connections, and to whom, a process answers HTTP.
//
// What flows in: a web configuration file (TLS, client certificates, passwords), bearer tokens, and the API server's
// answers about them. What flows out: the requests that may be answered.
//
//	connection -> Guard.Serve: TLS, passwords -> Guard.Protect: TokenReview, SubjectAccessReview -> handler
//
// Promised: certificates and the file are read anew as they change, and a file that became wrong closes the port to new
// clients instead of opening it; an API server that is away or slow means a refusal within ReviewTimeout, never a wait
// without end and never an answer; what clients do wrong is counted and doesn't flood the log.
package web
