# Whether what Terraform needs is there, and of the kind that it needs. Each field is looked at as JSON, which tells a text from a number.

locals {
  item = "\"([^\"\\\\]|\\\\.)*\""
  ssm  = "\"ssm:/[A-Za-z0-9/._-]*[A-Za-z0-9._-]\""
  forms = {
    name         = { json = "\"[^\"]+\"", write = "a name, such as linux-x64" }
    text         = { json = local.item, write = "a text" }
    texts        = { json = "\\[(${local.item}(,${local.item})*)?\\]", write = "a list of texts" }
    mapping      = { json = "\\{.*\\}", write = "a mapping" }
    switch       = { json = "(true|false)", write = "true or false" }
    span         = { json = "\"[0-9]+(${join("|", keys(local.unit))})\"", write = "a whole number with a unit, such as 15m" }
    os           = { json = "\"(linux|windows)\"", write = "linux or windows" }
    architecture = { json = "\"(x64|arm64)\"", write = "x64 or arm64" }
    types        = { json = "\\[${local.item}(,${local.item})*\\]", write = "a list of instance types, such as [m7i.large]" }
    subnets      = { json = "\\[\"subnet-[A-Za-z0-9]+\"(,\"subnet-[A-Za-z0-9]+\")*\\]", write = "a list of subnets' ids, such as [subnet-0123456789abcdef0]" }
    address      = { json = "\".*:[0-9]+\"", write = "an address and a port, such as 0.0.0.0:8080" }
    # A reference is never repeated: it may be a secret that was written by mistake.
    secret  = { json = local.ssm, write = "ssm:/muster/${var.cluster}/NAME, because the controller has neither your files nor your environment" }
    secrets = { json = "\\[${local.ssm}(,${local.ssm})*\\]", write = "a list of ssm:/muster/${var.cluster}/NAME, because the controller has neither your files nor your environment" }
  }
  required = {
    Controller  = { "metadata.name" = "name" }
    GitHubApp   = { "metadata.name" = "name", "spec.privateKey" = "secret", "spec.webhookSecrets" = "secrets" }
    GitHubToken = { "metadata.name" = "name", "spec.token" = "secret", "spec.webhookSecrets" = "secrets" }
    RunnerPool  = { "metadata.name" = "name", "spec.instance.types" = "types", "spec.instance.subnets" = "subnets" }
  }
  optional = {
    Controller = {
      "spec"                = "mapping", "spec.tags" = "mapping", "spec.listen" = "mapping"
      "spec.listen.webhook" = "address", "spec.listen.admin" = "address", "spec.listen.adminToken" = "secret", "spec.listen.viewToken" = "secret"
    }
    RunnerPool = {
      "spec.instance.os"            = "os", "spec.instance.architecture" = "architecture", "spec.instance.launchTemplate" = "name"
      "spec.runner"                 = "mapping", "spec.runner.maxLifetime" = "span", "spec.runner.bootDeadline" = "span"
      "spec.bootstrap"              = "mapping", "spec.bootstrap.version" = "text", "spec.bootstrap.user" = "text", "spec.bootstrap.sudo" = "switch"
      "spec.bootstrap.preInstall"   = "text", "spec.bootstrap.postInstall" = "text", "spec.bootstrap.workDirectory" = "text"
      "spec.bootstrap.hooks"        = "mapping", "spec.bootstrap.hooks.jobStarted" = "text", "spec.bootstrap.hooks.jobCompleted" = "text"
      "spec.bootstrap.proxy"        = "mapping", "spec.bootstrap.proxy.http" = "text", "spec.bootstrap.proxy.https" = "text", "spec.bootstrap.proxy.none" = "texts"
      "spec.bootstrap.reportStages" = "switch", "spec.bootstrap.dockerGroup" = "switch", "spec.bootstrap.allowUnverified" = "switch"
    }
  }

  # Each document with what it lacks. An index that is out of range makes `try` go on.
  found = [for d in local.judgeable : merge(d, { fields = flatten([for must, by_kind in { yes = local.required, no = local.optional } : [
    for path, form in lookup(by_kind, d.kind, {}) : { path = path, form = local.forms[form], must = must == "yes", json = [for k in [split(".", path)] : try(
      jsonencode(d.doc[k[0]][k[1]][k[2]][k[3]]),
      jsonencode(d.doc[k[0]][k[1]][k[length(k) == 3 ? 2 : 9]]),
      jsonencode(d.doc[k[0]][k[length(k) == 2 ? 1 : 9]]),
      jsonencode(d.doc[k[length(k) == 1 ? 0 : 9]]),
      "null",
    )][0] }
  ]]) })]
  checked = [for d in local.found : merge(d, { lacks = concat(
    [for f in d.fields : "${d.at}${trimspace("${d.kind} ${d.name}")}: ${f.path}: ${f.json == "null" ? "is missing; " : ""}write ${f.form.write}"
    if f.json == "null" ? f.must : !can(regex("^(?s:${f.form.json})$", f.json))],
    contains(keys(local.required), d.kind) ? [] : ["${d.at}kind: is `${d.kind}`; write one of ${join(", ", keys(local.required))}"],
    d.kind == "Controller" && d.name != var.cluster && d.name != "" ? ["${d.at}Controller ${d.name}: metadata.name: write ${var.cluster}, as the variable `cluster` says"] : [],
  ) })]
  names = [for d in local.documents : "${d.kind} ${d.name}"]
  lacking = concat(
    local.unreadable,
    flatten([for d in local.checked : d.lacks]),
    [for name in distinct(local.names) : "there are two documents ${name}; give each a name of its own" if length([for n in local.names : n if n == name]) > 1 && !endswith(name, " ")],
    length([for d in local.documents : d if d.kind == "Controller"]) > 1 ? ["there are several Controllers; keep one, or none: Terraform writes it"] : [],
  )
  # The subnets of HCL, once they are known.
  odd_subnets = flatten([for name, pool in local.pools : [for id in pool.subnets : name if !can(regex("^subnet-[A-Za-z0-9]+$", id))]])
  from        = join(" and ", compact([var.directory, length(local.given) > 0 ? "the variables" : ""]))
}
