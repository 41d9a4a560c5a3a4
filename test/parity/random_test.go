package parity

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// random fills objects: the same seed gives the same objects. Words are such as clusters have them, and such as nobody
// hopes for.
type random struct {
	*rand.Rand
	full float64 // how likely a field that may be missing is there
}

func newRandom(seed uint64, name string, n int) *random {
	h := seed
	for _, c := range name {
		h = h*1099511628211 ^ uint64(c)
	}
	r := rand.New(rand.NewPCG(h, uint64(n)))
	return &random{r, []float64{0.1, 0.5, 0.8, 1}[r.IntN(4)]}
}

func pick[T any](r *random, from ...T) T { return from[r.IntN(len(from))] }

// prefix is in front of the names of random objects, and nowhere else in them.
const prefix = "fuzz-"

// object makes the n-th random object of a kind, as JSON. Its name is its own.
func (r *random) object(k kind, n int) ([]byte, error) {
	v := reflect.New(reflect.TypeOf(k.object))
	r.fill(v.Elem(), k.Kind, 0)
	accessor := v.Interface().(metav1.Object)
	accessor.SetName(fmt.Sprintf("%s%s-%d", prefix, k.Resource, n))
	accessor.SetNamespace("")
	if k.namespaced {
		accessor.SetNamespace(pick(r, "default", "shop", "kube-system"))
	}
	v.Interface().(runtime.Object).GetObjectKind().SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind))
	return json.Marshal(v.Interface())
}

// maxDepth bounds the nesting; the deepest field that a family reads is less deep.
const maxDepth = 14

// fill sets a value. field is the name of the field that it is of, for words that fit.
func (r *random) fill(v reflect.Value, field string, depth int) {
	if r.special(v, field) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if depth < maxDepth && r.Float64() < r.full {
			v.Set(reflect.New(v.Type().Elem()))
			r.fill(v.Elem(), field, depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || bulky[f.Name] || f.Type == reflect.TypeFor[metav1.TypeMeta]() {
				continue
			}
			if strings.Contains(f.Tag.Get("json"), "omitempty") && f.Type.Kind() != reflect.Pointer && r.Float64() > r.full && depth > 0 {
				continue
			}
			r.fill(v.Field(i), f.Name, depth+1)
		}
	case reflect.Slice:
		if depth >= maxDepth || v.Type().Elem().Kind() == reflect.Uint8 && r.Float64() > r.full {
			return
		}
		n := pick(r, 0, 1, 1, 2, 3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			r.fill(v.Index(i), field, depth+1)
		}
	case reflect.Map:
		if r.Float64() > r.full {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(5) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			r.fill(key, field+"Key", depth+1)
			r.fill(value, field, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(r.word(v.Type().Name(), field))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int32:
		v.SetInt(int64(int32(r.integer())))
	case reflect.Int, reflect.Int64:
		v.SetInt(r.integer())
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	}
}

// bulky are fields that are large and that no family reads.
var bulky = map[string]bool{
	"ManagedFields": true, "Affinity": true, "SecurityContext": true, "LivenessProbe": true, "ReadinessProbe": true, "StartupProbe": true, "Lifecycle": true,
	"Env": true, "EnvFrom": true, "VolumeMounts": true, "VolumeDevices": true, "EphemeralContainers": true, "TopologySpreadConstraints": true, "Template": true,
	"Images": true, "DNSConfig": true, "HostAliases": true, "MatchConstraints": true, "Projected": true,
}

// special sets values of types that have a form of their own.
func (r *random) special(v reflect.Value, field string) bool {
	switch p := v.Addr().Interface().(type) {
	case *metav1.Time:
		if r.Float64() < r.full {
			*p = metav1.Time{Time: r.time()}
		}
	case *metav1.MicroTime:
		if r.Float64() < r.full {
			*p = metav1.MicroTime{Time: r.time()}
		}
	case *resource.Quantity:
		*p = resource.MustParse(pick(r, quantities...))
	case *intstr.IntOrString:
		*p = intstr.Parse(pick(r, "0", "1", "3", "-2", "25%", "1%", "100%", "0%", "250%", "33%", "x%", "%", "", "abc", "2.5%", "99999999999%"))
	case *runtime.RawExtension:
	case *metav1.FieldsV1:
	case *types.UID:
		*p = types.UID(fmt.Sprintf("%08x-%04x-4000-8000-%012x", r.Uint32(), r.Uint32N(1<<16), r.Uint64N(1<<48)))
	case *[]byte:
		*p = []byte(pick(r, "", "x", "\x00\xff", "-----BEGIN CERTIFICATE-----"))
	case *corev1.ResourceList:
		if r.Float64() < r.full {
			*p = corev1.ResourceList{}
			for range r.IntN(8) {
				(*p)[corev1.ResourceName(pick(r, resourceNames...))] = resource.MustParse(pick(r, quantities...))
			}
		}
	case *map[string]string:
		if r.Float64() < r.full {
			*p = map[string]string{}
			for range pick(r, 0, 1, 2, 3, 8) {
				(*p)[pick(r, keys...)] = r.word("", field)
			}
		}
	default:
		return false
	}
	return true
}

func (r *random) time() time.Time {
	return pick(r,
		time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(400*24*time.Hour)))),
		time.Date(2025, 3, 30, 0, 59, 59, r.IntN(1e9), time.UTC), // an hour before Europe's clocks change
		time.Unix(0, 0), time.Unix(-1, 0), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2026, 1, 31, 23, 30, 0, 0, time.FixedZone("", -5*3600)))
}

func (r *random) integer() int64 {
	return pick(r, 0, 1, 2, 3, 5, 80, 443, 65535, 999999, 1000000, 1000001, 16777217, r.Int64N(1e9), r.Int64N(1e15), -1, -r.Int64N(1e9),
		math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64, 1<<53, 1<<53+1, 100000, 123456789)
}

// word makes a text for a field, given the name of its type (string, where it has none of its own).
func (r *random) word(typeName, field string) string {
	if r.IntN(12) == 0 {
		return pick(r, oddWords...)
	}
	if words := wordsOf[typeName]; len(words) > 0 {
		return pick(r, words...)
	}
	if words := wordsOf[field]; len(words) > 0 {
		return pick(r, words...)
	}
	return pick(r, plainWords...)
}

var quantities = []string{
	"0", "1", "2", "100m", "250m", "1500m", "0.5", "1.5", "3.000001", "0.0001", "1n", "1u", "-1", "-250m", "1k", "1e3", "1E", "12E", "1Ki", "64Mi", "1Gi", "1.5Gi",
	"10Ti", "8Ei", "9223372036854775807", "9223372036854775808", "9223372036854775", "9223372036854776", "9007199254740993", "999999999999999999999999", "-9223372036854775808", "100001m", "1234567", "4e-2",
	"9223372036854775807m", "123456789012345678m", "0.1m", "1e-9", "110", "107374182400",
}

var resourceNames = []string{
	"cpu", "memory", "storage", "ephemeral-storage", "pods", "hugepages-2Mi", "hugepages-1Gi", "nvidia.com/gpu", "example.com/Odd_Name", "attachable-volumes-aws-ebs", "attachable-volumes-csi-x.y",
	"requests.cpu", "limits.memory", "count/jobs.batch", "requests.nvidia.com/gpu", "services.loadbalancers", "kubernetes.io/batch-cpu", "foo.kubernetes.io/bar", "unknown", "", "a/b/c", "-x.com/y", "hugepages-", "x.com/", "persistentvolumeclaims",
	"gold.storageclass.storage.k8s.io/requests.storage",
}

// keys are keys of labels and annotations. There is none that looks like a name with a suffix against conflicts: the older
// release gives two labels the same name then.
var keys = []string{
	"app", "app.kubernetes.io/name", "app_kubernetes_io_name", "app-kubernetes-io/name", "camelCase", "camel_case", "CamelCase", "team", "a.b", "a-b", "a_b", "A.b", "9lives", "",
	"ümlaut", "$app4", "node-role.kubernetes.io/worker", "node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/", "volume.beta.kubernetes.io/storage-class", "kubernetes.io/ingress.class", "HTTPServer", "x__y", "_", "very/long" + strings.Repeat("g", 100),
	"kubernetes.io/service-account.name", "a b", "a\nb", "日本", "éA", "aé9B",
}

var plainWords = []string{
	"web", "api", "payments-db", "node-7.example.com", "default", "shop", "10.0.3.4", "registry.example.com/app:1.4", "", "main", "side", "true", "false", "Error", "v1", "nfs.csi.k8s.io", "1", "x",
}

var oddWords = []string{
	"", " ", "with \"quotes\"", "back\\slash", "new\nline", "tab\t", "\\\"\n", "ümläut 日本", "\u2028", "a,b=c", "{}", "#", "\x00", "\r", "100%", "TRUE", "\U0001F600", "\ufffd", strings.Repeat("long ", 60),
}

// wordsOf has what fits, by the name of a type or of a field.
var wordsOf = map[string][]string{
	// phases, states and other closed sets, each with something that is not of it
	"PodPhase":                                 {"Pending", "Running", "Succeeded", "Failed", "Unknown", "", "Odd"},
	"NamespacePhase":                           {"Active", "Terminating", "", "Odd"},
	"PersistentVolumePhase":                    {"Pending", "Available", "Bound", "Released", "Failed", "", "Odd"},
	"PersistentVolumeClaimPhase":               {"Pending", "Bound", "Lost", "", "Odd"},
	"ConditionStatus":                          {"True", "False", "Unknown", "", "true"},
	"PodQOSClass":                              {"Guaranteed", "Burstable", "BestEffort", "", "Odd"},
	"PodConditionType":                         {"Ready", "PodScheduled", "Initialized", "ContainersReady", "DisruptionTarget", "PodReadyToStartContainers", "Odd"},
	"NodeConditionType":                        {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "KernelDeadlock"},
	"NodeAddressType":                          {"InternalIP", "ExternalIP", "Hostname", "InternalDNS", "Odd"},
	"DeploymentConditionType":                  {"Available", "Progressing", "ReplicaFailure", "Odd"},
	"JobConditionType":                         {"Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"},
	"HorizontalPodAutoscalerConditionType":     {"AbleToScale", "ScalingActive", "ScalingLimited"},
	"PersistentVolumeClaimConditionType":       {"Resizing", "FileSystemResizePending", "ModifyVolumeError"},
	"NamespaceConditionType":                   {"NamespaceDeletionDiscoveryFailure", "NamespaceDeletionContentFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining"},
	"RequestConditionType":                     {"Approved", "Denied", "Failed", "Odd"},
	"MetricSourceType":                         {"Object", "Pods", "Resource", "ContainerResource", "External", "Odd"},
	"MetricTargetType":                         {"Value", "AverageValue", "Utilization"},
	"ConcurrencyPolicy":                        {"Allow", "Forbid", "Replace"},
	"RestartPolicy":                            {"Always", "OnFailure", "Never"},
	"ContainerRestartPolicy":                   {"Always", "OnFailure", ""},
	"TaintEffect":                              {"NoSchedule", "PreferNoSchedule", "NoExecute"},
	"TolerationOperator":                       {"Exists", "Equal", ""},
	"AddressType":                              {"IPv4", "IPv6", "FQDN"},
	"Protocol":                                 {"TCP", "UDP", "SCTP"},
	"ServiceType":                              {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName", ""},
	"SecretType":                               {"Opaque", "kubernetes.io/tls", "kubernetes.io/service-account-token"},
	"PersistentVolumeAccessMode":               {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
	"PersistentVolumeReclaimPolicy":            {"Retain", "Delete", "Recycle"},
	"PersistentVolumeMode":                     {"Filesystem", "Block", ""},
	"VolumeBindingMode":                        {"Immediate", "WaitForFirstConsumer"},
	"LimitType":                                {"Pod", "Container", "PersistentVolumeClaim"},
	"FailurePolicyType":                        {"Ignore", "Fail"},
	"ReinvocationPolicyType":                   {"Never", "IfNeeded"},
	"ParameterNotFoundActionType":              {"Allow", "Deny"},
	"ValidationAction":                         {"Deny", "Warn", "Audit"},
	"PersistentVolumeClaimRetentionPolicyType": {"Retain", "Delete", ""},
	"DeploymentStrategyType":                   {"RollingUpdate", "Recreate"},
	"ResourceName":                             resourceNames,

	"Reason": {"Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError", "PreemptionByScheduler", "SchedulingGated", "TerminationByKubelet", "DeletionByPodGC", "EvictionByEvictionAPI", "DeletionByTaintManager",
		"OOMKilled", "Error", "Completed", "ContainerCannotRun", "DeadlineExceeded", "BackoffLimitExceeded", "CrashLoopBackOff", "ImagePullBackOff", "MinimumReplicasAvailable", "NewReplicaSetAvailable", "ProgressDeadlineExceeded", "FailedCreate", "", "Odd"},
	"Schedule":            {"*/5 * * * *", "0 3 * * 1-5", "@daily", "@every 1h30m", "@hourly", "0 0 31 2 *", "61 * * * *", "", "x", "0 12 29 2 *", "30 1 * * *", "30 2 * * 0", "TZ=Asia/Tokyo 0 0 * * *", "CRON_TZ=UTC 5 4 * * *", "@reboot", "* * * *", "0 0 * * sun", "0 0 1 jan *", "*/15 0-6,22 1,15 * ?", "0 0 */2 * *", "5-1 * * * *", "0 0 * * 7", "@every 1s"},
	"TimeZone":            {"Etc/UTC", "America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Nowhere/Nothing", "", "UTC"},
	"IP":                  ipWords,
	"IPs":                 ipWords,
	"PodIP":               ipWords,
	"HostIP":              ipWords,
	"ClusterIP":           ipWords,
	"LoadBalancerIP":      ipWords,
	"ExternalIPs":         ipWords,
	"Addresses":           ipWords,
	"Address":             ipWords,
	"PodCIDR":             {"10.244.1.0/24", "fd00:1::/64", ""},
	"PodCIDRs":            {"10.244.1.0/24", "fd00:1::/64"},
	"ResourceVersion":     {"1", "8675309", "9007199254740993", "123456789012345678901234567890", "", "abc", "0x10", "1e3", "Inf", "nan", "-5", "1_000", " 7", "0b1"},
	"Name":                {"main", "side", "init-a", "web", "data", "cpu", "requests_per_second", "", "a.b-c"},
	"Kind":                {"ReplicaSet", "Deployment", "Node", "StatefulSet", "Job", "CronJob", "Pod", ""},
	"OwnerReferencesKind": {"ReplicaSet", "Node"},
}

var ipWords = []string{"10.0.3.4", "192.168.0.1", "fd00::1", "2001:db8::8:800:200c:417a", "::ffff:10.1.2.3", "", "not-an-ip", "127.0.0.1", "010.0.0.1", "fe80::1%eth0", "10.0.3.4 ", "example.com"}
