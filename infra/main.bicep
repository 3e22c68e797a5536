targetScope = 'subscription'

metadata description = 'firstpull for one azd environment: its resource group, and access to existing registries and hubs.'

import { connectedRegistryType, namedKeyType, policyType, siteType } from 'types.bicep'

@description('Name of the azd environment. Each stage has its own.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of all resources.')
@metadata({ azd: { type: 'location' } })
param location string

@description('ARM ids of the IoT Hubs whose devices are served. The first is the default of requests.')
param iotHubIds string[] = []

@description('Domain of the hubs: the part of a host name after the hub\'s name.')
param iotHubSuffix string = 'azure-devices.net'

@description('Whether to subscribe to device events of the hubs. A hub can have one system topic: switch this off if it has one.')
param iotHubEvents bool = true

@description('ARM ids of the container registries. The first is the default of requests.')
param containerRegistryIds string[] = []

@description('Connected registries that devices may use, with the fields of the policy.')
param connectedRegistries connectedRegistryType[] = []

@description('Sites: each has a name and a list of connected registries, which are filled in this order.')
param sites siteType[] = []

@description('More fields of the policy. They override those of the parameters above.')
param policy policyType = {}

@description('A blob with the whole policy, container/name in the storage account, in place of the parameters. Empty: none.')
param policyBlob string = ''

@description('Name of this deployment (a-z, 0-9 and -). The names of tokens depend on it.')
@minLength(1)
@maxLength(32)
param deploymentName string = 'firstpull-${uniqueString(subscription().id, environmentName)}'

@description('Days until a password expires.')
@minValue(1)
@maxValue(3650)
param passwordValidityDays int = 90

@description('Percentage of the fleet that a sweep may revoke without approval.')
@minValue(0)
@maxValue(100)
param sweepRevokesPercent int = 10

@description('Devices that callers of the HTTP API may revoke within an hour without approval.')
@minValue(0)
@maxValue(100000)
param revokesPerHour int = 50

@description('Whether people may look at the fleet in a browser, at /api/fleet.')
param fleetPage bool = false

@description('Function keys that have a name and roles, by the hash of their value.')
param namedKeys namedKeyType[] = []

@description('Whether callers without a role are refused.')
param rolesRequired bool = false

@description('Name of the secret with the keys of signed webhooks. Empty: no signed webhooks.')
param webhookKeysSecretName string = ''

@description('Client id of the app registration of the HTTP API, or function-keys to do without Entra ID.')
@minLength(13)
param entraClientId string

@description('Object ids of the users and service principals that may call the HTTP API, at most 13, for which the platform has room. Empty: nobody may.')
@maxLength(13)
param entraCallers string[] = []

@description('Whether storage and Key Vault accept traffic from private endpoints only.')
param privateNetworking bool = false

@description('Address range of the private network, /24 or larger.')
param networkAddressPrefix string = '10.80.0.0/24'

@description('ARM id of a NAT gateway for outbound traffic of the private network.')
param natGatewayId string = ''

@description('Maximum number of instances, of each group of functions or, by older documentation, of the whole app. Azure Resource Manager is the bottleneck, not the app.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 10

@description('Replication of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_LRS'

@description('Retention of telemetry in days.')
@minValue(30)
@maxValue(730)
param telemetryDays int = 30

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string = ''

@description('Address of the runbook. Each alert adds its anchor.')
param runbookUrl string = 'docs/runbook.md'

@description('Hours without an acknowledgement of a delivery until an alert fires.')
@minValue(1)
@maxValue(2000)
param alertUnansweredHours int = 72

@description('Percentage of free clients at or below which a site is nearly full.')
@minValue(0)
@maxValue(100)
param alertFreePercent int = 10

@description('Number of throttled reconciles in 15 minutes above which an alert fires.')
@minValue(0)
@maxValue(10000)
param alertThrottledLooks int = 50

@description('Whether to recover the soft-deleted vault of an earlier deployment of this environment.')
param recoverVault bool = false

@description('Whether to create a container registry with a connected registry and an IoT Hub for a trial.')
param createDemo bool = false

@description('Object id of the principal that deploys, set by azd. With createDemo it may register devices.')
param principalId string = ''

@description('Kind of the principal that deploys.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param principalType string = 'User'

var roles = loadJsonContent('roles.json')
var tags = { 'azd-env-name': environmentName }
var token = uniqueString(subscription().id, environmentName, location)

var resourceGroupName = 'rg-${environmentName}'
var providers = '${subscription().id}/resourceGroups/${resourceGroupName}/providers'
var storageName = 'stfp${token}'
var vaultName = 'kv-fp-${token}'
var workspaceName = 'log-firstpull-${token}'

// The app creates missing queues. Event Grid needs its queue before the first start of the app.
var eventQueueName = 'device-events'
var queueNames = [
  'device-onboarding'
  'device-work'
  eventQueueName
]
var tableNames = ['devices']
var packageContainerName = 'app-package'
var deadLetterContainerName = 'event-dead-letters'
var containerNames = [
  'membership'
  'sweeps'
  'policy'
  packageContainerName
  deadLetterContainerName
]

var demoRegistryName = 'crfirstpull${token}'
var demoHubName = 'iot-firstpull-${token}'
var demoConnectedRegistryName = 'plantone'
var demoRepository = 'hello-world'
var demoRegistryIds = createDemo ? ['${providers}/Microsoft.ContainerRegistry/registries/${demoRegistryName}'] : []
var demoHubIds = createDemo ? ['${providers}/Microsoft.Devices/IotHubs/${demoHubName}'] : []
var demoConnectedRegistries = createDemo
  ? [
      {
        name: demoConnectedRegistryName
        containerRegistry: demoRegistryName
        repositories: [demoRepository]
      }
    ]
  : []

var hubIds = concat(iotHubIds, demoHubIds)
var registryIds = concat(containerRegistryIds, demoRegistryIds)
// What GET /api/doctor looks at, besides the registries of the policy.
var resourceIds = concat(hubIds, [
  '${providers}/Microsoft.KeyVault/vaults/${vaultName}'
  '${providers}/Microsoft.Storage/storageAccounts/${storageName}'
])
var doctorGroups = union(
  map(concat(registryIds, hubIds), id => toLower('${split(id, '/')[2]}/${split(id, '/')[4]}')),
  [toLower('${subscription().subscriptionId}/${resourceGroupName}')]
)
var hubsOfIds = map(hubIds, id => {
  host: '${toLower(last(split(id, '/')))}.${iotHubSuffix}'
  name: last(split(id, '/'))
})
var wholePolicy = {
  hubs: policy.?hubs ?? hubsOfIds
  containerRegistries: policy.?containerRegistries ?? registryIds
  connectedRegistries: policy.?connectedRegistries ?? concat(connectedRegistries, demoConnectedRegistries)
  sites: policy.?sites ?? sites
  defaultOnboarding: policy.?defaultOnboarding
  adoptableTokens: policy.?adoptableTokens ?? []
  enrollments: policy.?enrollments ?? {}
  delivery: policy.?delivery ?? 'twin'
  deliveries: policy.?deliveries
}

var privateStorage = privateNetworking ? ['blob', 'queue', 'table'] : []

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identity 'br/public:avm/res/managed-identity/user-assigned-identity:0.6.0' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-firstpull-${token}'
    location: location
    tags: tags
    enableTelemetry: false
  }
}

module logs 'br/public:avm/res/operational-insights/workspace:0.16.1' = {
  name: 'logs'
  scope: group
  params: {
    name: workspaceName
    location: location
    tags: tags
    enableTelemetry: false
    dataRetention: telemetryDays
    features: {
      disableLocalAuth: true
    }
  }
}

module applicationInsights 'br/public:avm/res/insights/component:0.8.0' = {
  name: 'application-insights'
  scope: group
  params: {
    name: 'appi-firstpull-${token}'
    location: location
    tags: tags
    enableTelemetry: false
    workspaceResourceId: logs.outputs.resourceId
    disableLocalAuth: true
    disableIpMasking: false
    roleAssignments: [
      {
        roleDefinitionIdOrName: roles.monitoringMetricsPublisher.id
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
      }
    ]
  }
}

module network 'modules/network.bicep' = if (privateNetworking) {
  name: 'private-network'
  scope: group
  params: {
    name: 'vnet-firstpull-${token}'
    location: location
    tags: tags
    addressPrefix: networkAddressPrefix
    natGatewayId: natGatewayId
  }
}

module storage 'br/public:avm/res/storage/storage-account:0.33.0' = {
  name: 'storage'
  scope: group
  params: {
    name: storageName
    location: location
    tags: tags
    enableTelemetry: false
    skuName: storageSku
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    supportsHttpsTrafficOnly: true
    minimumTlsVersion: 'TLS1_2'
    publicNetworkAccess: 'Enabled'
    // Event Grid cannot use a private endpoint. It is admitted as a trusted service.
    networkAcls: {
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
      bypass: 'AzureServices'
    }
    privateEndpoints: [
      for service in privateStorage: {
        service: service
        subnetResourceId: network!.outputs.endpointSubnetId
        privateDnsZoneGroup: {
          privateDnsZoneGroupConfigs: [
            { privateDnsZoneResourceId: network!.outputs.zoneIds[service] }
          ]
        }
      }
    ]
    queueServices: {
      queues: map(concat(queueNames, map(queueNames, name => '${name}-poison')), name => { name: name })
    }
    tableServices: {
      tables: map(tableNames, name => { name: name })
    }
    blobServices: {
      containers: map(containerNames, name => { name: name })
    }
    roleAssignments: [
      {
        roleDefinitionIdOrName: roles.storageBlobDataOwner.id
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
      }
      {
        roleDefinitionIdOrName: roles.storageQueueDataContributor.id
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
      }
      {
        roleDefinitionIdOrName: roles.storageTableDataContributor.id
        principalId: identity.outputs.principalId
        principalType: 'ServicePrincipal'
      }
    ]
  }
}

module vault 'modules/key-vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: vaultName
    location: location
    tags: tags
    recover: recoverVault
    workspaceId: logs.outputs.resourceId
    privateNetworking: privateNetworking
    endpointSubnetId: privateNetworking ? network!.outputs.endpointSubnetId : ''
    zoneId: privateNetworking ? network!.outputs.zoneIds.vault : ''
  }
}

module vaultAccess 'modules/key-vault-access.bicep' = {
  name: 'vault-access'
  scope: group
  params: {
    vaultName: vaultName
    appPrincipalId: identity.outputs.principalId
    environmentName: environmentName
  }
  dependsOn: [vault]
}

module app 'modules/app.bicep' = {
  name: 'function-app'
  scope: group
  params: {
    name: 'func-firstpull-${token}'
    planName: 'plan-firstpull-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.resourceId
    identityClientId: identity.outputs.clientId
    storageEndpoints: {
      blob: storage.outputs.serviceEndpoints.blob
      queue: storage.outputs.serviceEndpoints.queue
      table: storage.outputs.serviceEndpoints.table
    }
    packageContainerName: packageContainerName
    vaultUrl: vault.outputs.uri
    vaultName: vaultName
    applicationInsightsConnectionString: applicationInsights.outputs.connectionString
    deploymentName: deploymentName
    policy: wholePolicy
    policyBlob: policyBlob
    hubs: wholePolicy.hubs
    containerRegistries: wholePolicy.containerRegistries
    connectedRegistries: wholePolicy.connectedRegistries
    passwordValidityDays: passwordValidityDays
    sweepRevokesPercent: sweepRevokesPercent
    revokesPerHour: revokesPerHour
    resourceIds: resourceIds
    fleetPage: fleetPage
    namedKeys: namedKeys
    rolesRequired: rolesRequired
    webhookKeysSecretName: webhookKeysSecretName
    entraClientId: entraClientId == 'function-keys' ? '' : entraClientId
    entraCallers: entraCallers
    subnetId: privateNetworking ? network!.outputs.appSubnetId : ''
    maximumInstanceCount: maximumInstanceCount
  }
  // The platform resolves the reference to the webhook keys when the app starts.
  dependsOn: [vaultAccess]
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    namePrefix: 'firstpull-${token}'
    location: location
    tags: tags
    workspaceName: workspaceName
    telemetryDays: telemetryDays
    actionGroupId: actionGroupId
    runbookUrl: runbookUrl
    unansweredHours: alertUnansweredHours
    freePercent: alertFreePercent
    throttledLooks: alertThrottledLooks
  }
  dependsOn: [applicationInsights]
}

module demo 'modules/demo.bicep' = if (createDemo) {
  name: 'demo'
  scope: group
  params: {
    registryName: demoRegistryName
    hubName: demoHubName
    connectedRegistryName: demoConnectedRegistryName
    location: location
    tags: tags
    repository: demoRepository
    deployerPrincipalId: principalId
    deployerPrincipalType: principalType
  }
}

module registryAccess 'modules/container-registry-access.bicep' = [
  for id in registryIds: {
    name: 'firstpull-registry-${uniqueString(id, environmentName)}'
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      registryName: last(split(id, '/'))
      appPrincipalId: identity.outputs.principalId
      environmentName: environmentName
    }
    dependsOn: [demo]
  }
]

module hubAccess 'modules/iot-hub-access.bicep' = [
  for id in hubIds: {
    name: 'firstpull-hub-${uniqueString(id, environmentName)}'
    scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
    params: {
      hubName: last(split(id, '/'))
      appPrincipalId: identity.outputs.principalId
      environmentName: environmentName
    }
    dependsOn: [demo]
  }
]

module doctorAccess 'modules/doctor-access.bicep' = [
  for id in doctorGroups: {
    name: 'firstpull-doctor-${uniqueString(id, environmentName)}'
    scope: resourceGroup(split(id, '/')[0], split(id, '/')[1])
    params: {
      appPrincipalId: identity.outputs.principalId
      environmentName: environmentName
    }
    dependsOn: [demo]
  }
]

// A system topic must be in the subscription of its source. For other hubs it is created by hand.
module hubEvents 'modules/events.bicep' = [
  for (id, index) in hubIds: if (iotHubEvents && split(id, '/')[2] == subscription().subscriptionId) {
    name: 'events-${uniqueString(id)}'
    scope: group
    params: {
      name: 'evgt-${take(last(split(id, '/')), 30)}-${uniqueString(id, environmentName)}'
      location: hubAccess[index].outputs.location
      tags: tags
      sourceId: id
      topicType: 'Microsoft.Devices.IoTHubs'
      eventTypes: [
        'Microsoft.Devices.DeviceCreated'
        'Microsoft.Devices.DeviceDeleted'
      ]
      storageAccountName: storageName
      queueName: eventQueueName
      deadLetterContainerName: deadLetterContainerName
      actionGroupId: actionGroupId
      runbookUrl: runbookUrl
    }
    dependsOn: [storage]
  }
]

module vaultEvents 'modules/events.bicep' = {
  name: 'events-vault'
  scope: group
  params: {
    name: 'evgt-vault-${token}'
    location: location
    tags: tags
    sourceId: '${providers}/Microsoft.KeyVault/vaults/${vaultName}'
    topicType: 'Microsoft.KeyVault.vaults'
    eventTypes: [
      'Microsoft.KeyVault.SecretNewVersionCreated'
      'Microsoft.KeyVault.SecretNearExpiry'
      'Microsoft.KeyVault.SecretExpired'
    ]
    storageAccountName: storageName
    queueName: eventQueueName
    deadLetterContainerName: deadLetterContainerName
    actionGroupId: actionGroupId
    runbookUrl: runbookUrl
  }
  dependsOn: [storage, vault]
}

output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_TENANT_ID string = tenant().tenantId
output FIRSTPULL_APP_NAME string = app.outputs.name
output FIRSTPULL_URL string = app.outputs.url
output FIRSTPULL_STORAGE_ACCOUNT string = storageName
output FIRSTPULL_KEY_VAULT string = vaultName
output FIRSTPULL_PRINCIPAL_ID string = identity.outputs.principalId
output FIRSTPULL_DEMO_HUB string = createDemo ? demoHubName : ''
output FIRSTPULL_DEMO_REGISTRY string = createDemo ? demoRegistryName : ''
