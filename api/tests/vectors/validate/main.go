// Writes what Kubernetes' own schema validation says of random values and random structural schemas, one case per line: the causes, as its
// API server tells them of custom resources.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	kubejson "sigs.k8s.io/json"
)

type object = map[string]interface{}

var random *rand.Rand

func pick[T any](all ...T) T { return all[random.Intn(len(all))] }

func maybe(odds int) bool { return random.Intn(odds) == 0 }

var names = []string{"a", "b", "c", "d"}

// A structural schema.
func schema(depth int) object {
	kinds := []string{"string", "integer", "number", "boolean"}
	if depth > 0 {
		kinds = append(kinds, "object", "object", "array", "map", "either")
	}
	out := object{}
	kind := pick(kinds...)
	switch kind {
	case "string":
		out["type"] = kind
		switch random.Intn(6) {
		case 0:
			out["pattern"] = pick(`^[a-z]+$`, `^\d+$`, `^(x|y)*$`, `[^\s]`)
		case 1:
			out["minLength"], out["maxLength"] = random.Intn(3), 2+random.Intn(3)
		case 2:
			out["enum"] = []interface{}{"x", "xy", "1"}
		case 3:
			out["format"] = pick("date-time", "date", "duration", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid4", "byte", "hostname", "email", "unheard-of", "int32")
		}
	case "integer", "number":
		out["type"] = kind
		switch random.Intn(5) {
		case 0:
			out["minimum"], out["maximum"] = random.Intn(3), 3+random.Intn(3)
		case 1:
			out["minimum"], out["exclusiveMinimum"] = random.Intn(3), true
		case 2:
			out["maximum"], out["exclusiveMaximum"] = random.Intn(4), true
		case 3:
			// Of whole numbers it takes whole factors only.
			out["multipleOf"] = 2
		case 4:
			out["enum"] = []interface{}{1, 2, 5}
		}
		if maybe(4) {
			out["format"] = pick("int32", "int64", "double")
		}
	case "boolean":
		out["type"] = kind
	case "either":
		out["x-kubernetes-int-or-string"] = true
		if maybe(2) {
			out["anyOf"] = []interface{}{object{"type": "integer"}, object{"type": "string"}}
		}
	case "array":
		out["type"] = kind
		out["items"] = schema(depth - 1)
		if maybe(2) {
			out["minItems"], out["maxItems"] = random.Intn(3), 1+random.Intn(3)
		}
	case "map":
		out["type"] = "object"
		out["additionalProperties"] = schema(depth - 1)
		if maybe(2) {
			out["minProperties"], out["maxProperties"] = random.Intn(2), 1+random.Intn(2)
		}
	case "object":
		out["type"] = kind
		properties := object{}
		for _, name := range names[:1+random.Intn(3)] {
			properties[name] = schema(depth - 1)
		}
		out["properties"] = properties
		if maybe(2) {
			out["required"] = []interface{}{pick(names[:3]...)}
		}
		switch random.Intn(8) {
		case 0:
			out["not"] = object{"required": []interface{}{"b"}}
		case 1:
			out["oneOf"] = []interface{}{object{"required": []interface{}{"a"}}, object{"required": []interface{}{"b"}}}
		case 2:
			out["anyOf"] = []interface{}{object{"required": []interface{}{"a"}}, object{"required": []interface{}{"c"}}}
		case 3:
			out["allOf"] = []interface{}{object{"required": []interface{}{"a"}}, object{"minProperties": 1}}
		}
	}
	if maybe(6) {
		out["nullable"] = true
	}
	return out
}

var texts = []string{"", "x", "xy", "xyz", "1", "12", "a b", "2026-11-29T10:00:00Z", "2026-11-29", "1h30m", "2 days", "10.0.0.1", "fe80::1", "10.0.0.0/8",
	"00:1a:2b:3c:4d:5e", "123e4567-e89b-42d3-a456-426614174000", "YWJj", "example.com", "a@example.com"}

// A value that mostly fits.
func value(of object, depth int) interface{} {
	if maybe(12) {
		return pick[interface{}](nil, "x", 1, 1.5, true, []interface{}{}, object{})
	}
	switch of["type"] {
	case "string":
		return pick(texts...)
	case "integer":
		return random.Intn(8)
	case "number":
		return pick[interface{}](random.Intn(8), 0.5, 1.25, 2.0, -1)
	case "boolean":
		return maybe(2)
	case "array":
		out := []interface{}{}
		for n := random.Intn(4); n > 0; n-- {
			out = append(out, value(of["items"].(object), depth-1))
		}
		return out
	case "object":
		out := object{}
		if properties, ok := of["properties"].(object); ok {
			for name, below := range properties {
				if !maybe(4) {
					out[name] = value(below.(object), depth-1)
				}
			}
			return out
		}
		for _, name := range names[:random.Intn(4)] {
			out[name] = value(of["additionalProperties"].(object), depth-1)
		}
		return out
	}
	return pick[interface{}]("x", 3, 1.5, true)
}

var supported = map[string]bool{}

func init() {
	for _, name := range strings.Split("bsonobjectid uri email hostname ipv4 ipv6 cidr mac uuid uuid3 uuid4 uuid5 isbn isbn10 isbn13 creditcard ssn hexcolor rgbcolor byte password date duration datetime", " ") {
		supported[name] = true
	}
}

// What the API server makes of a schema before it validates by it.
func prepared(of interface{}) interface{} {
	switch of := of.(type) {
	case map[string]interface{}:
		out := object{}
		for key, below := range of {
			out[key] = prepared(below)
		}
		if out["x-kubernetes-int-or-string"] == true {
			out["type"] = []interface{}{"integer", "string"}
		}
		if format, ok := out["format"].(string); ok && !supported[strings.ReplaceAll(format, "-", "")] {
			delete(out, "format")
		}
		return out
	case []interface{}:
		out := []interface{}{}
		for _, below := range of {
			out = append(out, prepared(below))
		}
		return out
	}
	return of
}

func causes(result *validate.Result) []string {
	var all field.ErrorList
	for _, err := range result.Errors {
		told, ok := err.(*openapierrors.Validation)
		if !ok {
			all = append(all, field.Invalid(nil, "", err.Error()))
			continue
		}
		var path *field.Path
		if len(told.Name) > 0 && told.Name != "." {
			path = path.Child(strings.TrimPrefix(told.Name, "."))
		}
		shown := told.Value
		if shown == nil {
			shown = ""
		}
		number := func(of interface{}) int {
			if n, ok := of.(int64); ok {
				return int(n)
			}
			return -1
		}
		switch told.Code() {
		case openapierrors.RequiredFailCode:
			all = append(all, field.Required(path, ""))
		case openapierrors.EnumFailCode:
			values := []string{}
			for _, allowed := range told.Values {
				if s, ok := allowed.(string); ok {
					values = append(values, s)
				} else {
					text, _ := json.Marshal(allowed)
					values = append(values, string(text))
				}
			}
			all = append(all, field.NotSupported(path, told.Value, values))
		case openapierrors.TooLongFailCode:
			all = append(all, field.TooLong(path, "", number(told.Valid)))
		case openapierrors.MaxItemsFailCode, openapierrors.TooManyPropertiesCode:
			all = append(all, field.TooMany(path, number(told.Value), number(told.Valid)))
		case openapierrors.InvalidTypeCode:
			all = append(all, field.TypeInvalid(path, shown, told.Error()))
		default:
			all = append(all, field.Invalid(path, shown, told.Error()))
		}
	}
	out := []string{}
	for _, err := range all {
		out = append(out, fmt.Sprintf("%s %s: %s", string(err.Type), err.Field, err.ErrorBody()))
	}
	sort.Strings(out)
	return out
}

func main() {
	seed := flag.Int64("seed", 1, "seed")
	count := flag.Int("count", 300, "cases")
	flag.Parse()
	random = rand.New(rand.NewSource(*seed))
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	for n := 0; n < *count; n++ {
		of := object{"type": "object", "properties": object{"spec": schema(3)}}
		raw := object{"spec": value(of["properties"].(object)["spec"].(object), 3)}
		text, _ := json.Marshal(raw)
		var read interface{}
		if err := kubejson.UnmarshalCaseSensitivePreserveInts(text, &read); err != nil {
			panic(err)
		}
		made, _ := json.Marshal(prepared(of))
		var built spec.Schema
		if err := json.Unmarshal(made, &built); err != nil {
			panic(err)
		}
		result := validate.NewSchemaValidator(&built, nil, "", strfmt.Default).Validate(read)
		told := causes(result)
		if strings.Contains(strings.Join(told, ""), "interface {}") {
			// Where it shows lists and objects in the form of Go.
			continue
		}
		if err := encoder.Encode(object{"schema": of, "value": raw, "causes": told}); err != nil {
			panic(err)
		}
	}
}
