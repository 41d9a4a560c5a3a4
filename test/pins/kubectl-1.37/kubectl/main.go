// Command kubectl is kubectl's own command, of a release whose main package is not in the Go module proxy: the staging
// modules of Kubernetes 1.37 are, k8s.io/kubernetes itself is not. It does what k8s.io/kubernetes/cmd/kubectl does.
package main

import (
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
