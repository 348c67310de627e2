# AWS's managed policies that no role of a cluster gets, by what each grants on muster's own parameters, bucket, roles and machines. A job has
# its instance's role, so what the role may do, every author of a workflow may do.
# https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html; a test evaluates each policy of a copy of that list, and
# compares. (Policies of service-linked roles are left out: AWS attaches them to nothing else.)

locals {
  dangerous = {
    "take over other roles of the account" = [
      "AdministratorAccess", "AdministratorAccess-Amplify", "AmazonECS_FullAccess", "IAMFullAccess", "PowerUserAccess",
      "SageMakerStudioAdminIAMDefaultExecutionPolicy", "SageMakerStudioAdminIAMPermissiveExecutionPolicy",
      "SageMakerStudioProjectUserRolePermissionsBoundary", "SageMakerStudioProjectUserRolePolicy",
      "SageMakerStudioUserIAMDefaultExecutionPolicy", "SageMakerStudioUserIAMPermissiveExecutionPolicy",
      "service-role/AWSBatchServiceRole", "service-role/AmazonEC2ContainerServiceEventsRole",
    ]
    "change the account's ECS services, and muster is one" = ["service-role/AmazonEC2ContainerServiceAutoscaleRole"]
    "read SSM parameters, and the GitHub App's private key is one" = [
      "AIDevOpsAgentAccessPolicy", "AIDevOpsAgentActionsPolicy", "AIOpsAssistantPolicy", "AWSApplicationMigrationReadOnlyAccess",
      "AWSIoTDeviceTesterForFreeRTOSFullAccess", "AWSResilienceHubV2AssessmentExecutionPolicy", "AmazonElasticFileSystemsUtils",
      "AmazonLaunchWizardFullAccessV2", "AmazonSSMFullAccess", "AmazonSSMManagedInstanceCore", "AmazonSSMReadOnlyAccess",
      "ReadOnlyAccess", "service-role/AmazonEC2RoleforSSM", "service-role/AmazonSSMAutomationRole",
      "service-role/AmazonSSMMaintenanceWindowRole",
    ]
    "read the secrets of Secrets Manager" = [
      "AWSSecretsManagerClientReadOnlyAccess", "AgentRegistryFullAccess", "SecretsManagerReadWrite",
    ]
    "run commands on the account's instances, the controller's included" = [
      "AWSBackupFullAccess", "AWSBackupOperatorAccess", "AWSEC2VssRestorePolicy", "AWSSystemsManagerJustInTimeAccessTokenPolicy",
      "service-role/AWSBackupServiceRolePolicyForBackup", "service-role/AWSDataLifecycleManagerSSMFullAccess",
      "service-role/AWSFaultInjectionSimulatorEC2Access", "service-role/AWSFaultInjectionSimulatorSSMAccess",
    ]
    "read or write the account's buckets, and muster's manifests and programs are in one" = [
      "AWSBackupServiceRolePolicyForItemRestores", "AWSBackupServiceRolePolicyForS3Backup", "AWSBackupServiceRolePolicyForS3Restore",
      "AWSCodeDeployRoleForECS", "AWSElasticBeanstalkEKSImageBuild", "AWSLambdaExecute", "AmazonDynamoDBFullAccesswithDataPipeline",
      "AmazonElasticMapReduceFullAccess", "AmazonElasticMapReduceReadOnlyAccess", "AmazonS3FullAccess", "AmazonS3ReadOnlyAccess",
      "job-function/DataScientist", "job-function/DatabaseAdministrator", "job-function/SystemAdministrator",
      "service-role/AWSElasticBeanstalkService", "service-role/AWSIoTRuleActions", "service-role/AmazonEC2RoleforAWSCodeDeploy",
      "service-role/AmazonEC2RoleforDataPipelineRole", "service-role/AmazonElasticMapReduceRole",
      "service-role/AmazonElasticMapReduceforEC2Role", "service-role/AmazonElasticTranscoderRole",
      "service-role/AmazonMacieServiceRole",
    ]
  }
  # By the end of the ARN: AWS's own policies have the account `aws`, in every partition.
  grants = merge([for what, names in local.dangerous : { for name in names : "aws:policy/${name}" => what }]...)
}
