metadata description = 'The function app, its plan, its settings and its authentication.'

import { connectedRegistryType, hubType, namedKeyType, policyType, storageEndpointsType, tagsType } from '../types.bicep'

@description('Name of the function app.')
param name string

@description('Name of its App Service plan.')
param planName string

@description('Region of the app.')
param location string

@description('Tags of the app and its plan.')
param tags tagsType

@description('ARM id of the user-assigned identity of the app.')
param identityId string

@description('Client id of that identity.')
param identityClientId string

@description('Endpoints of the storage account by service.')
param storageEndpoints storageEndpointsType

@description('Blob container of the deployment package.')
param packageContainerName string

@description('Address of the Key Vault for passwords.')
param vaultUrl string

@description('Name of the Key Vault.')
param vaultName string

@description('Connection string of Application Insights. It holds no key, because local authentication is off.')
param applicationInsightsConnectionString string

@description('Name of this deployment. The names of tokens depend on it.')
param deploymentName string

@description('The policy of firstpull, without the three fields below. The app does not start if one of these is empty.')
param policy policyType

@description('A blob with the whole policy, container/name in the storage account. Empty: the policy is a setting.')
param policyBlob string

@description('The IoT Hubs of the policy.')
@minLength(1)
param hubs hubType[]

@description('The container registries of the policy.')
@minLength(1)
param containerRegistries string[]

@description('The connected registries of the policy.')
@minLength(1)
param connectedRegistries connectedRegistryType[]

@description('ARM ids of the hubs, the vault and the storage account, which GET /api/doctor looks at.')
param resourceIds string[]

@description('Days until a password expires.')
param passwordValidityDays int

@description('Percentage of the fleet that a sweep may revoke without approval.')
param sweepRevokesPercent int

@description('Devices that callers of the HTTP API may revoke within an hour without approval.')
param revokesPerHour int

@description('Whether people may look at the fleet in a browser, at /api/fleet.')
param fleetPage bool

@description('Function keys that have a name and roles, by the hash of their value.')
param namedKeys namedKeyType[]

@description('Whether callers without a role are refused.')
param rolesRequired bool

@description('Name of the secret with the keys of signed webhooks. Empty: no signed webhooks.')
param webhookKeysSecretName string

@description('Client id of the app registration of the HTTP API. Empty: function keys only.')
param entraClientId string

@description('Object ids of the users and service principals that may call the HTTP API.')
@maxLength(13)
param entraCallers string[]

@description('ARM id of the subnet for outbound traffic. Empty: the public network.')
param subnetId string

@description('Maximum number of instances.')
param maximumInstanceCount int

// Endpoints whose callers have no Entra token: three are public, webhooks are signed, and the Device
// Provisioning Service sends a function key.
var openPaths = [
  '/api/healthz'
  '/api/readyz'
  '/api/openapi.json'
  '/api/webhooks/devices'
  '/api/provisioning'
]

// An empty list would admit every principal of the tenant.
var nobody = ['00000000-0000-0000-0000-000000000000']

var served = {
  hubs: hubs
  containerRegistries: containerRegistries
  connectedRegistries: connectedRegistries
}

// A setting holds at most 128 KiB.
var policySettings = empty(policyBlob)
  ? {
      FIRSTPULL_POLICY: string(union(policy, served))
    }
  : {
      FIRSTPULL_POLICY_BLOB: policyBlob
    }

var webhookSettings = empty(webhookKeysSecretName)
  ? {}
  : {
      FIRSTPULL_WEBHOOK_KEYS: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=${webhookKeysSecretName})'
    }

module plan 'br/public:avm/res/web/serverfarm:0.7.0' = {
  name: 'plan'
  params: {
    name: planName
    location: location
    tags: tags
    enableTelemetry: false
    skuName: 'FC1'
    kind: 'functionapp'
    reserved: true
  }
}

module app 'br/public:avm/res/web/site:0.24.0' = {
  name: 'app'
  params: {
    name: name
    location: location
    tags: union(tags, { 'azd-service-name': 'app' })
    enableTelemetry: false
    kind: 'functionapp,linux'
    serverFarmResourceId: plan.outputs.resourceId
    managedIdentities: {
      userAssignedResourceIds: [identityId]
    }
    keyVaultAccessIdentityResourceId: identityId
    virtualNetworkSubnetResourceId: empty(subnetId) ? null : subnetId
    clientAffinityEnabled: false
    httpsOnly: true
    publicNetworkAccess: 'Enabled'
    basicPublishingCredentialsPolicies: [
      { name: 'ftp', allow: false }
      { name: 'scm', allow: false }
    ]
    siteConfig: {
      minTlsVersion: '1.2'
    }
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstanceCount
        instanceMemoryMB: 2048
        // The default for Python is 1, and a request with Prefer: wait blocks its slot for up to 20 s.
        triggers: {
          http: {
            perInstanceConcurrency: 16
          }
        }
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storageEndpoints.blob}${packageContainerName}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
    }
    configs: [
      {
        name: 'appsettings'
        // Settings that are not listed here are removed from the app.
        retainCurrentAppSettings: false
        properties: union(webhookSettings, policySettings, {
          APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
          APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
          AZURE_CLIENT_ID: identityClientId
          AzureWebJobsDisableHomepage: 'true'
          AzureWebJobsStorage__blobServiceUri: storageEndpoints.blob
          AzureWebJobsStorage__clientId: identityClientId
          AzureWebJobsStorage__credential: 'managedidentity'
          AzureWebJobsStorage__queueServiceUri: storageEndpoints.queue
          AzureWebJobsStorage__tableServiceUri: storageEndpoints.table
          FIRSTPULL_DEPLOYMENT: deploymentName
          FIRSTPULL_FLEET_PAGE: string(fleetPage)
          FIRSTPULL_KEY_VAULT_URL: vaultUrl
          FIRSTPULL_NAMED_KEYS: string(namedKeys)
          FIRSTPULL_PASSWORD_VALIDITY_DAYS: string(passwordValidityDays)
          FIRSTPULL_RESOURCE_IDS: join(resourceIds, ',')
          FIRSTPULL_REVOKES_PER_HOUR: string(revokesPerHour)
          FIRSTPULL_ROLES_REQUIRED: string(rolesRequired)
          FIRSTPULL_SWEEP_REVOKES_PERCENT: string(sweepRevokesPercent)
          PYTHON_ENABLE_OPENTELEMETRY: 'true'
        })
      }
      {
        name: 'authsettingsV2'
        properties: {
          platform: {
            enabled: !empty(entraClientId)
          }
          globalValidation: {
            requireAuthentication: true
            unauthenticatedClientAction: 'Return401'
            excludedPaths: openPaths
          }
          httpSettings: {
            requireHttps: true
          }
          identityProviders: empty(entraClientId)
            ? {}
            : {
                azureActiveDirectory: {
                  enabled: true
                  registration: {
                    clientId: entraClientId
                    openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
                  }
                  validation: {
                    allowedAudiences: [entraClientId, 'api://${entraClientId}']
                    defaultAuthorizationPolicy: {
                      // Without groups, which Azure answers with an internal error (azure-sdk-for-net#38485).
                      allowedPrincipals: {
                        identities: empty(entraCallers) ? nobody : entraCallers
                      }
                    }
                  }
                }
              }
          login: {
            tokenStore: {
              enabled: false
            }
          }
        }
      }
    ]
  }
}

@description('Name of the function app.')
output name string = app.outputs.name

@description('Address of its HTTP API.')
output url string = 'https://${app.outputs.defaultHostname}'
