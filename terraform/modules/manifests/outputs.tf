output "pools" {
  description = "What the module builds each pool from, by the pool's name."
  value       = local.pools

  precondition {
    condition     = length(local.lacking) == 0
    error_message = "The manifests in ${local.from} lack what Terraform needs:\n${join("\n", local.lacking)}"
  }
  precondition {
    condition     = length(local.odd_subnets) == 0
    error_message = "The manifests in ${local.from} lack what Terraform needs:\nRunnerPool ${join(", ", distinct(local.odd_subnets))}: spec.instance.subnets: write ${local.forms.subnets.write}"
  }
}

output "references" {
  description = "The SSM parameters that hold secrets: the `keys` (and tokens) and `webhooks` of GitHubApps and GitHubTokens, and the Controller's `tokens` for orders and for `views`."
  value = { for kind in ["keys", "webhooks", "tokens", "views"] : kind =>
    distinct([for r in local.references : trimprefix(r.ref, "ssm:") if r.kind == kind && r.ref != null])
  }
}

output "controller" {
  description = "The spec of the directory's Controller, if there is one that lacks nothing."
  value       = try([for d in [for d in local.checked : d if d.kind == "Controller"] : d.doc.spec if length(d.lacks) == 0][0], {})
}

output "texts" {
  description = "The manifests without the Controller, by file, as they are uploaded."
  value       = merge(local.left, { for d in local.documents : d.file => yamlencode(d.doc) if !contains(local.files, d.file) })
}

output "texts_at_plan" {
  description = "The same manifests, with stand-ins for the subnets that are written in HCL."
  value       = merge(local.left, { for d in local.judgeable : d.file => yamlencode(d.doc) if !contains(local.files, d.file) })
}
