// Prints the facts about a provider's resource types. README.md tells how to run it.
package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/go-cty/cty"
	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"

	"PROVIDER"
)

type facts map[string]any

var types = map[schema.ValueType]string{
	schema.TypeString: "string", schema.TypeInt: "int", schema.TypeFloat: "float", schema.TypeBool: "bool",
	schema.TypeList: "list", schema.TypeSet: "set", schema.TypeMap: "map",
}

// A wrong value of each type: validation functions tell their bounds only in what they say of it.
var wrong = map[schema.ValueType][]any{
	schema.TypeString: {"\x00", "", strings.Repeat("x", 1<<16)},
	schema.TypeInt:    {-1 << 40, 1 << 40},
	schema.TypeFloat:  {-1e12, 1e12},
}

var (
	oneOf   = regexp.MustCompile(`to be one of \[(.*)\], got`)
	quoted  = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	pattern = regexp.MustCompile(`match (?:regexp|regex|regular expression) ("(?:[^"\\]|\\.)*")`)
	length  = regexp.MustCompile(`length of \S+ to be in the range \((\d+) - (\d+)\)`)
	between = regexp.MustCompile(`to be in the range \((\S+) - (\S+)\)`)
	limit   = regexp.MustCompile(`to be at (least|most) \((\S+)\)`)
)

func main() {
	output := json.NewEncoder(os.Stdout)
	output.SetEscapeHTML(false)
	all := provider.Provider()
	names := []string{}
	for name := range all.ResourcesMap {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		resource := all.ResourcesMap[name]
		attributes := block(resource.SchemaMap(), "")
		if attributes["id"] == nil {
			attributes["id"] = facts{"type": "string", "mode": "optional_computed"}
		}
		print(output, name, attributes, resource.Timeouts)
	}
	print(output, "provider", block(all.Schema, ""), nil)
}

func print(output *json.Encoder, name string, attributes facts, limits *schema.ResourceTimeout) {
	timeouts := []string{}
	if limits != nil {
		for name, value := range map[string]bool{
			"create": limits.Create != nil, "delete": limits.Delete != nil, "update": limits.Update != nil,
			"read": limits.Read != nil, "default": limits.Default != nil,
		} {
			if value {
				timeouts = append(timeouts, name)
			}
		}
	}
	sort.Strings(timeouts)
	line := struct {
		Name       string   `json:"name"`
		Attributes facts    `json:"attributes"`
		Timeouts   []string `json:"timeouts,omitempty"`
	}{name, attributes, timeouts}
	if err := output.Encode(line); err != nil {
		panic(err)
	}
}

func block(attributes map[string]*schema.Schema, path string) facts {
	result := facts{}
	for name, each := range attributes {
		result[name] = attribute(each, path+name)
	}
	return result
}

func attribute(of *schema.Schema, path string) facts {
	result := facts{"type": types[of.Type]}
	switch {
	case of.Required:
		result["mode"] = "required"
	case of.Optional && of.Computed:
		result["mode"] = "optional_computed"
	case of.Optional:
		result["mode"] = "optional"
	default:
		result["mode"] = "computed"
	}
	for name, value := range map[string]bool{"force_new": of.ForceNew, "sensitive": of.Sensitive} {
		if value {
			result[name] = true
		}
	}
	for name, value := range map[string]int{"min_items": of.MinItems, "max_items": of.MaxItems} {
		if value > 0 {
			result[name] = value
		}
	}
	if of.Default != nil {
		result["default"] = of.Default
	}
	for name, others := range map[string][]string{
		"conflicts_with": of.ConflictsWith, "exactly_one_of": of.ExactlyOneOf,
		"at_least_one_of": of.AtLeastOneOf, "required_with": of.RequiredWith,
	} {
		if strings.Contains(name, "_one_of") && len(others) > 0 && !slices.Contains(others, path) {
			others = append(others, path) // it may leave out itself
		}
		if len(others) > 0 {
			result[name] = others
		}
	}
	bounds(of, result)
	switch element := of.Elem.(type) {
	case *schema.Resource:
		result["block"] = block(element.SchemaMap(), path+".0.")
	case *schema.Schema:
		inner := attribute(element, path)
		delete(inner, "mode")
		result["elem"] = inner
		if len(inner) == 1 {
			result["elem"] = inner["type"]
		}
	}
	return result
}

func bounds(of *schema.Schema, result facts) {
	known := len(result)
	for _, value := range wrong[of.Type] {
		if len(result) > known {
			return
		}
		said := refusal(of, value)
		if found := oneOf.FindStringSubmatch(said); found != nil {
			allowed := []string{}
			for _, each := range quoted.FindAllString(found[1], -1) {
				text, _ := strconv.Unquote(each)
				allowed = append(allowed, text)
			}
			result["one_of"] = allowed
		} else if found := pattern.FindStringSubmatch(said); found != nil {
			if text, _ := strconv.Unquote(found[1]); !strings.Contains(text, `\p{`) { // Python has no such classes
				result["pattern"] = text
			}
		} else if found := length.FindStringSubmatch(said); found != nil {
			result["length_range"] = []json.Number{json.Number(found[1]), json.Number(found[2])}
		} else if found := between.FindStringSubmatch(said); found != nil {
			result["range"] = []json.Number{json.Number(found[1]), json.Number(found[2])}
		} else if found := limit.FindStringSubmatch(said); found != nil {
			result[map[string]string{"least": "minimum", "most": "maximum"}[found[1]]] = json.Number(found[2])
		}
	}
}

func refusal(of *schema.Schema, value any) (said string) {
	defer func() { _ = recover() }() // some functions take only what another has accepted
	if of.ValidateFunc != nil {
		if _, errors := of.ValidateFunc(value, "a"); len(errors) > 0 {
			return errors[0].Error()
		}
	}
	if of.ValidateDiagFunc != nil {
		for _, each := range of.ValidateDiagFunc(value, cty.Path{}) {
			return each.Summary + " " + each.Detail
		}
	}
	return ""
}
