// Command etcd is etcd's own server. The etcd project releases no main package that can be required as a module
// beside Kubernetes, so this one calls the server's entry point with the command line as it came.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
