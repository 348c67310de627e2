# One level of a walk through a document beside its JSON Schema: what is wrong here, and what lies one level deeper.
# Terraform has no recursion, so the caller calls this once for each level.

variable "nodes" {
  description = "List of {at, path, value, def, defs}: a value, where it stands, its schema, and the schema's $defs."
  type        = any
}

locals {
  # jsonencode tells the type of a value, which HCL itself does not.
  seen = [for n in var.nodes : merge(n, { json = jsonencode(n.value) })]
  typed = [for n in local.seen : merge(n, {
    type = (
      startswith(n.json, "{") ? "object" : startswith(n.json, "[") ? "array" : startswith(n.json, "\"") ? "string" :
      n.json == "null" ? "null" : n.json == "true" || n.json == "false" ? "boolean" :
      can(regex("^-?[0-9]+$", n.json)) ? "integer" : "number"
    )
    enum  = [for one in try(n.def.oneOf, []) : one.const]
    types = flatten([try(n.def.type, try(n.def.oneOf[0].type, try(n.def.const, null) == null ? [] : ["string"]))])
  })]

  problems = flatten([for n in local.typed : [
    length(n.types) > 0 && !contains(n.types, n.type) && !(n.type == "integer" && contains(n.types, "number"))
    ? ["${n.at}${n.path}: write ${join(" or ", [for t in n.types : t == "null" ? "nothing" : t == "array" ? "a list" : t == "object" ? "a mapping" : t == "integer" ? "a whole number" : "a ${t}"])}"] : [],
    can(n.def.const) && try(n.value != n.def.const, true) ? ["${n.at}${n.path}: write ${n.def.const}"] : [],
    length(n.enum) > 0 && n.type == "string" && !try(contains(n.enum, n.value), false)
    ? ["${n.at}${n.path}: is `${n.value}`; write one of ${join(", ", n.enum)}"] : [],
    # A reference is never repeated: it may be a secret that was written by mistake.
    can(n.def.pattern) && n.type == "string" && !can(regex(n.def.pattern, n.value))
    ? ["${n.at}${n.path}: does not look right; it must match ${n.def.pattern}"] : [],
    n.type == "integer" && try(n.value < n.def.minimum, false) ? ["${n.at}${n.path}: write ${n.def.minimum} or more"] : [],
    n.type == "array" && try(length(n.value) < n.def.minItems, false) ? ["${n.at}${n.path}: required: at least ${n.def.minItems}"] : [],
    n.type == "object" && try(n.def.additionalProperties == false, false)
    ? [for key in setsubtract(try(keys(n.value), []), keys(n.def.properties)) :
      "${n.at}${n.path}: unknown field `${key}`; write one of ${join(", ", keys(n.def.properties))}"
    ] : [],
    n.type == "object" ? [for key in setsubtract(try(n.def.required, []), try(keys(n.value), [])) :
      "${n.at}${trimprefix("${n.path}.${key}", ".")}: required"
    ] : [],
  ]])

  below = concat(
    flatten([for n in local.typed : [for key in n.type == "object" ? setintersection(keys(n.value), keys(try(n.def.properties, {}))) : [] : {
      at = n.at, path = trimprefix("${n.path}.${key}", "."), value = n.value[key], def = n.def.properties[key], defs = n.defs
    }]]),
    # A mapping of the user's own keys, such as tags.
    flatten([for n in local.typed : [for key in n.type == "object" && can(n.def.additionalProperties.type) ? keys(n.value) : [] : {
      at = n.at, path = "${n.path}.${key}", value = n.value[key], def = n.def.additionalProperties, defs = n.defs
    }]]),
    flatten([for n in local.typed : [for i in n.type == "array" ? range(length(n.value)) : [] : {
      at = n.at, path = "${n.path}[${i}]", value = n.value[i], def = try(n.def.items, {}), defs = n.defs
    }]]),
  )
}

output "problems" {
  description = "What is wrong at this level."
  value       = local.problems
}

output "below" {
  description = "The nodes one level deeper, references resolved."
  value = [for n in local.below : merge(n, {
    def = try(n.defs[trimprefix(n.def["$ref"], "#/$defs/")], n.def)
  })]
}
