// Writes what Kubernetes' field manager does with random objects, one case per line, to standard output.
//
//	go run . -seed 1 -sequences 12 > ../server_side_apply.jsonl
//
// A case is a live object, a write to it, and what comes of it: the object, its managedFields (their times left out but for whether there is
// one), or an error.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v4/fieldpath"
)

type document = map[string]interface{}

type vector struct {
	APIVersion  string      `json:"apiVersion"`
	Kind        string      `json:"kind"`
	Live        document    `json:"live,omitempty"`
	Op          string      `json:"op"`
	Manager     string      `json:"manager"`
	Subresource string      `json:"subresource,omitempty"`
	Force       bool        `json:"force,omitempty"`
	Body        document    `json:"body"`
	Out         document    `json:"out,omitempty"`
	Managed     []document  `json:"managed,omitempty"`
	Conflicts   [][2]string `json:"conflicts,omitempty"`
	Error       string      `json:"error,omitempty"`
}

type noDefaults struct{}

func (noDefaults) Default(runtime.Object) {}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func manager(gvk schema.GroupVersionKind, subresource string) *managedfields.FieldManager {
	gone := []string{"status"}
	if subresource == "status" {
		gone = []string{"metadata", "spec", "data", "binaryData", "immutable", "revision", "apiVersion", "kind"}
	}
	set := fieldpath.NewSet()
	for _, field := range gone {
		set.Insert(fieldpath.MakePathOrDie(field))
	}
	version := fieldpath.APIVersion(gvk.GroupVersion().String())
	reset := fieldpath.NewExcludeFilterSetMap(map[fieldpath.APIVersion]*fieldpath.Set{version: set})
	converter := runtime.UnsafeObjectConvertor(scheme.Scheme)
	types := applyconfigurations.NewTypeConverter(scheme.Scheme)
	return must(managedfields.NewDefaultFieldManager(
		types, converter, noDefaults{}, scheme.Scheme, gvk, gvk.GroupVersion(), subresource, reset))
}

func copyOf(value interface{}) document {
	var out document
	if err := json.Unmarshal(must(json.Marshal(value)), &out); err != nil {
		panic(err)
	}
	return out
}

func typed(gvk schema.GroupVersionKind, value document) (runtime.Object, error) {
	object := must(scheme.Scheme.New(gvk))
	if err := json.Unmarshal(must(json.Marshal(value)), object); err != nil {
		return nil, err
	}
	object.GetObjectKind().SetGroupVersionKind(gvk)
	return object, nil
}

// One after another: several writes to one object.
func sequence(random *rand.Rand, text string, length int, out *json.Encoder) {
	var template document
	if err := json.Unmarshal([]byte(text), &template); err != nil {
		panic(err)
	}
	gvk := schema.FromAPIVersionAndKind(template["apiVersion"].(string), template["kind"].(string))
	var live document
	for i := 0; i < length; i++ {
		v := vector{APIVersion: template["apiVersion"].(string), Kind: gvk.Kind, Live: live}
		v.Manager = []string{"a", "b", "c", "kubectl"}[random.Intn(4)]
		if live != nil && random.Intn(5) == 0 {
			v.Subresource = "status"
		}
		if random.Intn(2) == 0 {
			v.Op, v.Force = "apply", random.Intn(3) == 0
			v.Body = sample(random, template, 0.6, true).(document)
		} else {
			v.Op = "update"
			base := document{}
			if live != nil {
				base = cut(random, copyOf(live)).(document)
			}
			v.Body = over(base, sample(random, template, 0.4, false).(document))
			lastApplied(random, v.Body)
		}
		delete(v.Body["metadata"].(document), "managedFields")
		if do(gvk, &v) {
			live = v.Out
		}
		v.finish()
		if err := out.Encode(v); err != nil {
			panic(err)
		}
	}
}

// As client-side apply leaves it.
func lastApplied(random *rand.Rand, body document) {
	if random.Intn(4) != 0 {
		return
	}
	metadata := body["metadata"].(document)
	annotations, _ := metadata["annotations"].(document)
	if annotations == nil {
		annotations = document{}
	}
	said := sample(random, body, 0.8, false)
	annotations["kubectl.kubernetes.io/last-applied-configuration"] = string(must(json.Marshal(said)))
	metadata["annotations"] = annotations
}

// Does it; tells whether the object is another one now.
func do(gvk schema.GroupVersionKind, v *vector) bool {
	fields := manager(gvk, v.Subresource)
	live := must(scheme.Scheme.New(gvk))
	if v.Live != nil {
		live = must(typed(gvk, v.Live))
	}
	live.GetObjectKind().SetGroupVersionKind(gvk)
	var result runtime.Object
	var err error
	if v.Op == "apply" {
		result, err = fields.Apply(live, &unstructured.Unstructured{Object: copyOf(v.Body)}, v.Manager, v.Force)
	} else {
		var body runtime.Object
		if body, err = typed(gvk, v.Body); err == nil {
			v.Body = copyOf(body)
			result, err = fields.Update(live, body, v.Manager)
		}
	}
	if err != nil {
		status, ok := err.(apierrors.APIStatus)
		if !ok || status.Status().Reason != metav1.StatusReasonConflict {
			v.Error = err.Error()
			return false
		}
		for _, cause := range status.Status().Details.Causes {
			v.Conflicts = append(v.Conflicts, [2]string{cause.Field, cause.Message})
		}
		sort.Slice(v.Conflicts, func(i, j int) bool {
			return v.Conflicts[i][1]+v.Conflicts[i][0] < v.Conflicts[j][1]+v.Conflicts[j][0]
		})
		return false
	}
	accessor := must(meta.Accessor(result))
	if accessor.GetUID() == "" {
		accessor.SetUID("1")
	}
	v.Out = copyOf(result)
	// Two runs say the same.
	entries, _ := v.Out["metadata"].(document)["managedFields"].([]interface{})
	for _, entry := range entries {
		if entry := entry.(document); entry["time"] != nil {
			entry["time"] = "2026-01-01T00:00:00Z"
		}
	}
	return true
}

func (v *vector) finish() {
	if v.Out == nil {
		return
	}
	v.Out = copyOf(v.Out)
	metadata := v.Out["metadata"].(document)
	entries, _ := metadata["managedFields"].([]interface{})
	delete(metadata, "managedFields")
	for _, entry := range entries {
		entry := entry.(document)
		if entry["time"] != nil {
			entry["time"] = "set"
		}
		v.Managed = append(v.Managed, entry)
	}
	sort.Slice(v.Managed, func(i, j int) bool {
		text := func(e document) string { return fmt.Sprint(e["operation"], e["manager"], e["subresource"]) }
		return text(v.Managed[i]) < text(v.Managed[j])
	})
}

var keys = map[string]bool{"apiVersion": true, "kind": true, "metadata": true, "name": true, "containerPort": true, "port": true,
	"type": true, "mountPath": true, "uid": true, "ip": true, "key": true, "topologyKey": true, "whenUnsatisfiable": true, "maxSkew": true}

// A random part of a template. Texts with bars are alternatives, texts in braces are numbers.
func sample(random *rand.Rand, value interface{}, keep float64, nulls bool) interface{} {
	switch value := value.(type) {
	case document:
		out := document{}
		for _, key := range sorted(value) {
			if keys[key] {
				out[key] = sample(random, value[key], keep, nulls && key != "metadata")
			} else if random.Float64() < keep {
				out[key] = sample(random, value[key], keep, nulls)
				if nulls && random.Intn(25) == 0 {
					out[key] = nil
				}
			}
		}
		return out
	case []interface{}:
		out := []interface{}{}
		for _, at := range random.Perm(len(value)) {
			if random.Float64() < keep {
				out = append(out, sample(random, value[at], keep, nulls))
			}
		}
		if nulls && len(out) > 0 && random.Intn(40) == 0 {
			out = append(out, out[0])
		}
		return out
	case string:
		choices := strings.Split(value, "|")
		choice := choices[random.Intn(len(choices))]
		if strings.HasPrefix(choice, "{") && strings.HasSuffix(choice, "}") {
			var number float64
			if json.Unmarshal([]byte(choice[1:len(choice)-1]), &number) == nil {
				return number
			}
		}
		return choice
	}
	return value
}

// A document with a part of it gone.
func cut(random *rand.Rand, value interface{}) interface{} {
	switch value := value.(type) {
	case document:
		for _, key := range sorted(value) {
			if !keys[key] && random.Intn(8) == 0 {
				delete(value, key)
			} else {
				value[key] = cut(random, value[key])
			}
		}
	case []interface{}:
		if len(value) > 1 && random.Intn(5) == 0 {
			return value[:len(value)-1]
		}
		for at := range value {
			value[at] = cut(random, value[at])
		}
	}
	return value
}

// One document over another; lists are replaced.
func over(base, value document) document {
	for key, new := range value {
		inner, isMap := new.(document)
		old, wasMap := base[key].(document)
		if isMap && wasMap {
			base[key] = over(old, inner)
		} else {
			base[key] = new
		}
	}
	return base
}

func sorted(value document) []string {
	names := []string{}
	for name := range value {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func main() {
	seed := flag.Int64("seed", 1, "of the random numbers")
	sequences := flag.Int("sequences", 12, "of each kind")
	length := flag.Int("length", 6, "writes to an object")
	flag.Parse()
	random := rand.New(rand.NewSource(*seed))
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for i := 0; i < *sequences; i++ {
		for _, template := range templates {
			sequence(random, template, *length, out)
		}
	}
}
