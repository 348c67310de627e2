# Reads the manifests, from the directory that `muster run` reads and from what is written in HCL, and makes one list of documents of
# both. What is in them is judged in documents/. A problem fails the plan.

variable "directory" {
  description = "Directory of manifests, or null."
  type        = string
}

variable "cluster" {
  description = "The cluster's name."
  type        = string
}

variable "pools" {
  description = "RunnerPools by name: the fields of their `spec`. Of a pool that is in the directory too, each field that is written here."
  type        = any
}

variable "apps" {
  description = "GitHubApps by name: the fields of their `spec`; as with pools."
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
  # One that only has a launch template's fields leaves the manifest as it is.
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

  # As documents again, in the form that a file has.
  given = concat(local.changed, [for a in local.added : merge(a, { spec = local.hcl[a.kind][a.name] })])
  documents = concat(local.kept, [for d in local.given : merge(d, {
    doc = { apiVersion = "muster/v1", kind = d.kind, metadata = { name = d.name }, spec = d.spec }
  })])
  # Subnets are what is often known after the apply only. With others in their place, everything else is judged at plan.
  judgeable = concat(local.kept, [for d in [for d in local.given : merge(d, { spec = merge(d.spec, {
    for key, value in d.spec : key => merge(value, { for field, ids in value : field => [for place, id in flatten([ids]) : "subnet-${place}"] if field == "subnets" }) if key == "instance"
    }) })] : merge(d, {
    doc = { apiVersion = "muster/v1", kind = d.kind, metadata = { name = d.name }, spec = d.spec }
  })])

  controllers = [for d in local.documents : d if d.kind == "Controller"]
  taken       = concat([for d in local.controllers : d.file], [for d in local.of_files : d.file if contains(lookup(local.changing, d.kind, []), d.name)])
}

module "documents" {
  source    = "./documents"
  documents = local.documents
  cluster   = var.cluster
}

module "at_plan" {
  source    = "./documents"
  count     = length(keys(var.pools)) + length(keys(var.apps)) > 0 ? 1 : 0
  documents = local.judgeable
  cluster   = var.cluster
}

locals {
  problems_at_plan = concat(local.unreadable, flatten(module.at_plan[*].problems))
  problems         = concat(local.unreadable, module.documents.problems)
  from             = join(" and ", compact([var.directory, length(local.given) > 0 ? "the variables" : ""]))
}
