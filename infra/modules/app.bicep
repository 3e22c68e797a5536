metadata description = 'The function app: its plan, its settings, and who may call it.'

@description('Name of the function app.')
param name string

@description('Name of its plan.')
param planName string

@description('Region of the app.')
param location string

@description('Tags of the app and its plan.')
param tags object

@description('ARM id of the user-assigned identity that the app is.')
param identityId string

@description('Client id of that identity.')
param identityClientId string

@description('Addresses of the storage account\'s services, by their names.')
param storageEndpoints object

@description('Container that the package is kept in.')
param packageContainerName string

@description('Address of the vault that keeps the passwords.')
param vaultUrl string

@description('Name of that vault.')
param vaultName string

@description('Where telemetry goes. With local authentication off it is an address and no key.')
param applicationInsightsConnectionString string

@description('Name of this deployment, as in the names of tokens.')
param deploymentName string

@description('Who may ask for what. The app does not start without something in the next three.')
param policy object

@description('The IoT Hubs of the policy, as it has them.')
@minLength(1)
param hubs array

@description('The container registries of the policy.')
@minLength(1)
param containerRegistries string[]

@description('The connected registries of the policy.')
@minLength(1)
param connectedRegistries object[]

@description('Days until a password expires by itself.')
param passwordValidityDays int

@description('Share of the fleet that a sweep may revoke by itself, in percent.')
param sweepRevokesPercent int

@description('Secret of the vault that holds the keys of signed webhooks; none switches those off.')
param webhookKeysSecretName string

@description('Client id of the app registration that stands for the HTTP API; none leaves it to function keys.')
param entraClientId string

@description('Object ids of the users and service principals that may call the HTTP API.')
param entraCallers string[]

@description('Subnet that the app sends from; none leaves it on the public network.')
param subnetId string

@description('The most instances that run at a time: of each group of functions, or of the whole app.')
param maximumInstanceCount int

// Doors that let callers in by other means: none is needed, a signature, or the key that the
// provisioning service has. A caller of those has no Entra token.
var openPaths = [
  '/api/healthz'
  '/api/openapi.json'
  '/api/webhooks/devices'
  '/api/provisioning'
]

// An empty list would admit everybody in the tenant.
var nobody = ['00000000-0000-0000-0000-000000000000']

var served = {
  hubs: hubs
  containerRegistries: containerRegistries
  connectedRegistries: connectedRegistries
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
      alwaysOn: false
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
        // Of a Python app one by default, and a request that waits (Prefer) keeps its place for 20 s.
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
        // A setting that is taken out here is taken out there.
        retainCurrentAppSettings: false
        properties: union(webhookSettings, {
          APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
          APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
          AZURE_CLIENT_ID: identityClientId
          AzureWebJobsStorage__blobServiceUri: storageEndpoints.blob
          AzureWebJobsStorage__clientId: identityClientId
          AzureWebJobsStorage__credential: 'managedidentity'
          AzureWebJobsStorage__queueServiceUri: storageEndpoints.queue
          AzureWebJobsStorage__tableServiceUri: storageEndpoints.table
          FIRSTPULL_DEPLOYMENT: deploymentName
          FIRSTPULL_KEY_VAULT_URL: vaultUrl
          FIRSTPULL_PASSWORD_VALIDITY_DAYS: string(passwordValidityDays)
          FIRSTPULL_POLICY: string(union(policy, served))
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

@description('Where its HTTP API is.')
output url string = 'https://${app.outputs.defaultHostname}'
