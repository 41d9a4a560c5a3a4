// Package identity says who may talk to the simulated cluster.
//
// In: a directory (or none) for what has to survive a restart. Out: the certificate authorities, the serving and client
// certificates they sign, and the registry of users with their tokens and rights. The API server and the kubelets of the
// simulation ask the same registry, as real kubelets ask the API server through TokenReview and SubjectAccessReview.
//
// Promised: with the same directory, the authorities and the administrator's token are the same in every run, so a
// kubeconfig that was handed out stays good.
package identity
