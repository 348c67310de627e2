# Has muster itself judge the manifests, at each plan. A module of its own: Terraform installs what a module requires even where its count is 0,
# so in the root every user would need the provider `external`.

variable "muster_binary" {
  description = "The program muster, on the machine that runs Terraform: a path, or a name on its PATH. null: nothing is judged."
  type        = string
}

variable "manifests" {
  description = "The manifests by file: the output `manifest_texts` of the root module."
  type        = map(string)
}

# https://registry.terraform.io/providers/hashicorp/external/latest/docs/data-sources/external
data "external" "verdict" {
  count   = var.muster_binary == null ? 0 : 1
  program = [var.muster_binary, "validate", "-"]
  query   = var.manifests
}
