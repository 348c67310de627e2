# Reads the directory of manifests that `muster run` reads, by the same JSON Schemas (`schemas/` is what `muster schema`
# prints; a test compares) and the same rules. A problem fails the plan.

variable "directory" {
  description = "Directory of manifests."
  type        = string
}

variable "cluster" {
  description = "The cluster's name."
  type        = string
}

locals {
  files = sort([for f in fileset(var.directory, "*.{yaml,yml}") : f if !startswith(f, ".")])
  texts = { for f in local.files : f => file("${var.directory}/${f}") }
  parts = flatten([for f, text in local.texts : [
    for part in split("\n---\n", replace(replace("\n${text}\n", "\r", ""), "/\n---[ \t]*(#[^\n]*)?\n/", "\n---\n")) : { file = f, text = part }
    if trimspace(replace(replace(part, "/\n[ \t]*#[^\n]*/", "\n"), "/^[ \t]*#[^\n]*/", "")) != ""
  ]])
  read = [for p in local.parts : merge(p, { doc = try(yamldecode(p.text), "?") })]
  documents = [for p in local.read : {
    file = p.file
    doc  = p.doc
    kind = try(tostring(p.doc.kind), "")
    name = try(tostring(p.doc.metadata.name), "")
    at   = "${p.file}: ${try("${p.doc.kind} ", "")}${try("${p.doc.metadata.name}: ", "")}"
  }]
  schemas = { for kind in ["Controller", "GitHubApp", "RunnerPool"] : kind => jsondecode(file("${path.module}/schemas/${kind}.json")) }
  known   = [for d in local.documents : d if contains(keys(local.schemas), d.kind)]

  controllers = [for d in local.known : d if d.kind == "Controller"]
  apps        = [for d in local.known : d if d.kind == "GitHubApp"]
  pools       = [for d in local.known : d if d.kind == "RunnerPool"]

  of_files = concat(
    length(local.files) == 0 ? ["${var.directory} holds no *.yaml or *.yml; name the directory of the manifests"] : [],
    [for p in local.read : "${p.file}: is no YAML; `muster validate` says in which line" if jsonencode(p.doc) == "\"?\""],
    [for d in local.documents : "${d.file}: unknown kind `${d.kind}`; write one of ${join(", ", keys(local.schemas))}" if !contains(keys(local.schemas), d.kind) && jsonencode(d.doc) != "\"?\""],
    length(local.controllers) > 1 ? ["there are ${length(local.controllers)} Controllers; keep one, or none: Terraform writes it"] : [],
    [for d in local.controllers : "${d.at}metadata.name: write ${var.cluster}, as the variable `cluster` says" if d.name != "" && d.name != var.cluster],
    length(local.apps) == 0 ? ["there is no GitHubApp; write one (docs/getting-started.md)"] : [],
    [for kind in ["GitHubApp", "RunnerPool"] : "two ${kind}s have the same name; give each its own" if length(distinct([for d in local.known : d.name if d.kind == kind])) < length([for d in local.known : d if d.kind == kind])],
  )
}

module "level_1" {
  source = "./level"
  nodes = [for d in local.known : {
    at = d.at, path = "", value = d.doc, def = local.schemas[d.kind], defs = local.schemas[d.kind]["$defs"]
  }]
}

module "level_2" {
  source = "./level"
  nodes  = module.level_1.below
}

module "level_3" {
  source = "./level"
  nodes  = module.level_2.below
}

module "level_4" {
  source = "./level"
  nodes  = module.level_3.below
}

module "level_5" {
  source = "./level"
  nodes  = module.level_4.below
}

module "level_6" {
  source = "./level"
  nodes  = module.level_5.below
}

locals {
  structure = concat(
    module.level_1.problems, module.level_2.problems, module.level_3.problems,
    module.level_4.problems, module.level_5.problems, module.level_6.problems,
  )
  # What contradicts itself is looked for only once the documents have the right form, and each its own name.
  sound    = length(local.structure) + length(local.of_files) == 0
  problems = concat(local.of_files, local.structure, local.sound ? local.contradictions : [])
}
