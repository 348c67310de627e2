# Judges documents by the JSON Schemas that muster has (`../schemas/` is what `muster schema` prints; a test compares) and by the same
# rules, and tells the pools' settings with their defaults.

variable "documents" {
  description = "List of {file, at, doc, kind, name, spec}: a manifest, where it stands, and parts of it for convenience."
  type        = any
}

variable "cluster" {
  description = "The cluster's name."
  type        = string
}

locals {
  documents = [for d in var.documents : merge(d, { at = "${d.at}${d.kind == "" ? "" : "${d.kind} "}${d.name == "" ? "" : "${d.name}: "}" })]
  schemas   = { for kind in ["Controller", "GitHubApp", "GitHubToken", "RunnerPool"] : kind => jsondecode(file("${path.module}/../schemas/${kind}.json")) }
  known     = [for d in local.documents : d if contains(keys(local.schemas), d.kind)]

  controllers = [for d in local.known : d if d.kind == "Controller"]
  apps        = [for d in local.known : d if d.kind == "GitHubApp"]
  tokens      = [for d in local.known : d if d.kind == "GitHubToken"]
  pools       = [for d in local.known : d if d.kind == "RunnerPool"]

  of_files = concat(
    [for d in local.documents : "${d.file}: unknown kind `${d.kind}`; write one of ${join(", ", keys(local.schemas))}" if !contains(keys(local.schemas), d.kind)],
    length(local.controllers) > 1 ? ["there are ${length(local.controllers)} Controllers; keep one, or none: Terraform writes it"] : [],
    [for d in local.controllers : "${d.at}metadata.name: write ${var.cluster}, as the variable `cluster` says" if d.name != "" && d.name != var.cluster],
    length(local.apps) + length(local.tokens) == 0 ? ["there is no GitHubApp (nor a GitHubToken, for an enterprise); write one (docs/getting-started.md)"] : [],
    [for kind in ["GitHubApp", "GitHubToken", "RunnerPool"] : "two ${kind}s have the same name; give each its own" if length(distinct([for d in local.known : d.name if d.kind == kind])) < length([for d in local.known : d if d.kind == kind])],
    [for d in local.tokens : "${d.at}metadata.name: ${d.name} is the name of a GitHubApp; rename one" if contains([for app in local.apps : app.name], d.name)],
  )
}

module "level_1" {
  source = "../level"
  nodes = [for d in local.known : {
    at = d.at, path = "", value = d.doc, def = local.schemas[d.kind], defs = local.schemas[d.kind]["$defs"]
  }]
}

module "level_2" {
  source = "../level"
  nodes  = module.level_1.below
}

module "level_3" {
  source = "../level"
  nodes  = module.level_2.below
}

module "level_4" {
  source = "../level"
  nodes  = module.level_3.below
}

module "level_5" {
  source = "../level"
  nodes  = module.level_4.below
}

module "level_6" {
  source = "../level"
  nodes  = module.level_5.below
}

locals {
  structure = concat(
    module.level_1.problems, module.level_2.problems, module.level_3.problems,
    module.level_4.problems, module.level_5.problems, module.level_6.problems,
  )
  # What contradicts itself is looked for only once the documents have the right form, and each its own name.
  sound  = length(local.structure) + length(local.of_files) == 0
  judged = { for name, pool in local.settings : name => pool if local.sound }
}

output "problems" {
  description = "What is wrong with the documents."
  value       = concat(local.of_files, local.structure, local.sound ? local.contradictions : [])
}

output "pools" {
  description = "Pools by name, with their defaults."
  value       = local.settings
}

output "references" {
  description = "List of {at, kind, ref}: the secrets that the documents refer to."
  value       = local.references
}
