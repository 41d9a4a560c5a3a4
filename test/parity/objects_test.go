package parity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"github.com/headwater-metrics/headwater/test/cluster"
)

// object is one of testdata/objects.
type object struct {
	kind
	*unstructured.Unstructured
}

func (o object) String() string { return o.Resource + " " + o.GetNamespace() + "/" + o.GetName() }

// home is the namespace of the objects that do not say another, doomed that of their copies.
const home, doomed = "shop", "doomed"

// readObjects reads testdata/objects, whose files are named after the resources, in the order in which they can be created.
func readObjects() ([]object, error) {
	csr, certificate, err := certify()
	if err != nil {
		return nil, err
	}
	var all []object
	for _, k := range kinds {
		text, err := os.ReadFile(filepath.Join("testdata", "objects", k.Resource+".yaml"))
		if err != nil {
			return nil, err
		}
		text = bytes.ReplaceAll(text, []byte("request: CSR"), []byte("request: "+csr))
		text = bytes.ReplaceAll(text, []byte("certificate: CERTIFICATE"), []byte("certificate: "+certificate))
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			o := object{k, &unstructured.Unstructured{}}
			if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("couldn't read an object of %s: %w", k.Resource, err)
			}
			if k.namespaced && o.GetNamespace() == "" {
				o.SetNamespace(home)
			}
			all = append(all, o)
		}
	}
	// Everything needs its namespace, and pods need their service accounts.
	first := []string{"serviceaccounts", "namespaces"}
	slices.SortStableFunc(all, func(a, b object) int { return slices.Index(first, b.Resource) - slices.Index(first, a.Resource) })
	return all, nil
}

// copies are the objects as they are in another namespace: those of the home namespace, without nodes for the pods.
func copies(of []object, namespace string) []object {
	var all []object
	for _, o := range of {
		if o.GetNamespace() != home {
			continue
		}
		c := object{o.kind, o.DeepCopy()}
		c.SetNamespace(namespace)
		unstructured.RemoveNestedField(c.Object, "spec", "nodeName")
		all = append(all, c)
	}
	return all
}

// certify makes a certificate request and a certificate, in PEM and base64.
func certify() (csr, certificate string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	name := pkix.Name{CommonName: "parity"}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: name}, key)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return "", "", err
	}
	text := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE REQUEST", request), text("CERTIFICATE", der), nil
}

// api writes objects of any kind.
type api struct{ dynamic.Interface }

func (a api) of(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return a.Resource(resource)
	}
	return a.Resource(resource).Namespace(namespace)
}

// create creates an object without its status. It waits for what controllers make first, such as service accounts.
func (a api) create(ctx context.Context, o object) error {
	c := o.DeepCopy()
	unstructured.RemoveNestedField(c.Object, "status")
	var refused error
	err := cluster.Eventually(ctx, spare, func() error {
		_, err := a.of(o.GroupVersionResource, o.GetNamespace()).Create(ctx, c, metav1.CreateOptions{})
		if o.Resource == "namespaces" && apierrors.IsAlreadyExists(err) {
			return nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsAlreadyExists(err) {
			return err // the service account is to come, or the object of this name to go
		}
		refused = err
		return nil
	})
	if err = errors.Join(err, refused); err != nil {
		return fmt.Errorf("couldn't create %s: %w", o, err)
	}
	return nil
}

// status writes the status that an object has in its file, if it has one.
func (a api) status(ctx context.Context, o object) error {
	status, ok := o.Object["status"].(map[string]any)
	if !ok {
		return nil
	}
	subresources := []string{"status"}
	if o.Resource == "certificatesigningrequests" {
		subresources = []string{"approval", "status"}
	}
	for _, subresource := range subresources {
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			client := a.of(o.GroupVersionResource, o.GetNamespace())
			now, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			merged, _ := now.Object["status"].(map[string]any)
			if merged == nil {
				merged = map[string]any{}
			}
			for key, value := range status {
				merged[key] = value
			}
			if subresource == "approval" {
				delete(merged, "certificate")
			}
			now.Object["status"] = merged
			_, err = client.Update(ctx, now, metav1.UpdateOptions{}, subresource)
			return err
		})
		if err != nil {
			return fmt.Errorf("couldn't write the %s of %s: %w", subresource, o, err)
		}
	}
	return nil
}

// patch applies a JSON merge patch.
func (a api) patch(ctx context.Context, o object, patch any, subresources ...string) error {
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = a.of(o.GroupVersionResource, o.GetNamespace()).Patch(ctx, o.GetName(), types.MergePatchType, data, metav1.PatchOptions{}, subresources...)
	if err != nil {
		return fmt.Errorf("couldn't patch %s: %w", o, err)
	}
	return nil
}

// remove deletes an object at once, be it gone already or not.
func (a api) remove(ctx context.Context, o object) error {
	now, background := int64(0), metav1.DeletePropagationBackground
	err := a.of(o.GroupVersionResource, o.GetNamespace()).Delete(ctx, o.GetName(),
		metav1.DeleteOptions{GracePeriodSeconds: &now, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("couldn't delete %s: %w", o, err)
	}
	return nil
}

// update is an entry of testdata/updates.yaml.
type update struct {
	Resource, Name, Namespace, Subresource string
	Patch                                  map[string]any
}

func readUpdates() ([]update, error) {
	text, err := os.ReadFile(filepath.Join("testdata", "updates.yaml"))
	if err != nil {
		return nil, err
	}
	var all []update
	return all, yaml.UnmarshalStrict(text, &all)
}

// find is the kind of a resource.
func find(resource string) (kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.Resource == resource })
	if i < 0 {
		return kind{}, fmt.Errorf("there is no kind %q", resource)
	}
	return kinds[i], nil
}

// named makes an object that is only addressed.
func named(k kind, namespace, name string) object {
	o := object{k, &unstructured.Unstructured{}}
	o.SetAPIVersion(k.GroupVersion().String())
	o.SetKind(k.Kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// names lists resources as flags take them.
func names(keep func(kind) bool) string {
	var all []string
	for _, k := range kinds {
		if keep(k) {
			all = append(all, k.Resource)
		}
	}
	return strings.Join(all, ",")
}
