# Reads the manifests, from the directory that `muster run` reads and from what is written in HCL, and makes one list of documents of
# both. What Terraform needs of them is in pools.tf, what is checked in needs.tf; whether they are right is `muster validate`'s to say.

variable "directory" {
  description = "Directory of manifests, or null."
  type        = string
}

variable "cluster" {
  description = "The cluster's name."
  type        = string
}

variable "pools" {
  description = "RunnerPools by name: the fields of their `spec`. For a pool that is also in the directory, these fields replace the directory's."
  type        = any
}

variable "apps" {
  description = "GitHubApps by name: the fields of their `spec`; the same rule as for `pools`."
  type        = any
}

locals {
  files = var.directory == null ? [] : sort([for f in fileset(var.directory, "*.{yaml,yml}") : f if !startswith(f, ".")])
  texts = { for f in local.files : f => file("${var.directory}/${f}") }
  parts = flatten([for f, text in local.texts : [
    for part in split("\n---\n", replace(replace("\n${text}\n", "\r", ""), "/\n---[ \t]*(#[^\n]*)?\n/", "\n---\n")) : { file = f, text = part }
    if trimspace(replace(replace(part, "/\n[ \t]*#[^\n]*/", "\n"), "/^[ \t]*#[^\n]*/", "")) != ""
  ]])
  read = [for p in local.parts : merge(p, { doc = try(yamldecode(p.text), "?") })]
  of_files = [for p in local.read : {
    file = p.file
    at   = "${p.file}: "
    doc  = p.doc
    kind = try(tostring(p.doc.kind), "")
    name = try(tostring(p.doc.metadata.name), "")
    spec = merge(try(merge(p.doc.spec, {}), {}), { for key in ["instance"] : key => try(merge(p.doc.spec[key], {}), {}) if can(p.doc.spec[key]) })
  } if jsonencode(p.doc) != "\"?\""]
  unreadable = [for p in local.read : "${p.file}: is no YAML; `muster validate` says in which line" if jsonencode(p.doc) == "\"?\""]

  # Terraform's values may be known after the apply only, and `try` would take everything around such a value for unknown.
  hcl = { RunnerPool = var.pools, GitHubApp = var.apps }
  own = { RunnerPool = "pools", GitHubApp = "github_apps" }
  # An entry that sets only fields of the launch template does not change the manifest.
  changing = { for kind, by_name in local.hcl : kind => [for name, fields in by_name : name if length(keys(fields)) > 0] }
  # Of these parts of a spec single fields may be changed; every other field is changed as a whole.
  sections = ["github", "capacity", "runner", "instance", "bootstrap"]

  changed = [for d in local.of_files : merge(d, {
    file = "terraform-${lower(d.kind)}-${d.name}.yaml"
    at   = "${d.at}with ${local.own[d.kind]}[\"${d.name}\"]: "
    spec = merge(d.spec,
      { for key, value in local.hcl[d.kind][d.name] : key => value if !contains(local.sections, key) },
      { for key, value in local.hcl[d.kind][d.name] : key => merge(lookup(d.spec, key, {}), value) if contains(local.sections, key) },
    )
  }) if contains(lookup(local.changing, d.kind, []), d.name)]
  kept = [for d in local.of_files : d if !contains(lookup(local.changing, d.kind, []), d.name)]
  added = flatten([for kind, by_name in local.hcl : [for name in setsubtract(keys(by_name), [for d in local.of_files : d.name if d.kind == kind]) : {
    file = "terraform-${lower(kind)}-${name}.yaml"
    at   = "${local.own[kind]}[\"${name}\"]: "
    kind = kind
    name = name
  }]])

  # As documents again, in the form that a file has. `judgeable` has other subnets in the place of those of HCL, which are often known after
  # the apply only: everything else can then be checked at plan.
  given = concat(local.changed, [for a in local.added : merge(a, { spec = local.hcl[a.kind][a.name] })])
  with_stubs = [for d in local.given : merge(d, { spec = merge(d.spec, {
    for key, value in d.spec : key => merge(value, { for field, ids in value : field => [for place, id in flatten([ids]) : "subnet-${place}"] if field == "subnets" }) if key == "instance"
  }) })]
  documents = concat(local.kept, [for d in local.given : merge(d, { doc = { apiVersion = "muster/v1", kind = d.kind, metadata = { name = d.name }, spec = d.spec } })])
  judgeable = concat(local.kept, [for d in local.with_stubs : merge(d, { doc = { apiVersion = "muster/v1", kind = d.kind, metadata = { name = d.name }, spec = d.spec } })])

  # The files without the Controller and without what the variables change, and a file for each document of the variables.
  taken = concat([for d in local.of_files : d.file if d.kind == "Controller"], [for d in local.of_files : d.file if contains(lookup(local.changing, d.kind, []), d.name)])
  left = { for f, text in local.texts : f => contains(local.taken, f)
    ? join("---\n", [for d in local.kept : yamlencode(d.doc) if d.file == f && d.kind != "Controller"])
    : text
  }
}
