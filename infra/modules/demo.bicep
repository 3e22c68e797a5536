metadata description = 'A container registry with a connected registry, and an IoT Hub, for a trial.'

import { tagsType } from '../types.bicep'

@description('Name of the container registry.')
param registryName string

@description('Name of the IoT Hub.')
param hubName string

@description('Name of the connected registry.')
param connectedRegistryName string

@description('Region of these resources.')
param location string

@description('Tags of these resources.')
param tags tagsType

@description('Repository that the connected registry syncs.')
param repository string

@description('Object id of the principal that may register devices in the hub. Empty: nobody may.')
param deployerPrincipalId string

@description('Kind of that principal.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param deployerPrincipalType string

var roles = loadJsonContent('../roles.json')

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: registryName
  location: location
  tags: tags
  sku: {
    name: 'Premium'
  }
  properties: {
    adminUserEnabled: false
    dataEndpointEnabled: true
  }
}

// Has the name of the connected registry, as the Azure CLI does it.
resource syncScope 'Microsoft.ContainerRegistry/registries/scopeMaps@2025-11-01' = {
  parent: registry
  name: connectedRegistryName
  properties: {
    description: 'What the connected registry syncs.'
    actions: [
      'repositories/${repository}/content/read'
      'repositories/${repository}/metadata/read'
      'gateway/${connectedRegistryName}/config/read'
      'gateway/${connectedRegistryName}/config/write'
      'gateway/${connectedRegistryName}/message/read'
      'gateway/${connectedRegistryName}/message/write'
    ]
  }
}

resource syncToken 'Microsoft.ContainerRegistry/registries/tokens@2025-11-01' = {
  parent: registry
  name: connectedRegistryName
  properties: {
    scopeMapId: syncScope.id
    status: 'enabled'
  }
}

resource connectedRegistry 'Microsoft.ContainerRegistry/registries/connectedRegistries@2025-11-01' = {
  parent: registry
  name: connectedRegistryName
  properties: {
    mode: 'ReadOnly'
    parent: {
      syncProperties: {
        tokenId: syncToken.id
        schedule: '* * * * *'
        messageTtl: 'P2D'
      }
    }
  }
}

resource iotHub 'Microsoft.Devices/IotHubs@2023-06-30' = {
  name: hubName
  location: location
  tags: tags
  sku: {
    name: 'S1'
    capacity: 1
  }
  properties: {
    disableLocalAuth: true
    minTlsVersion: '1.2'
  }
}

resource mayRegisterDevices 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(deployerPrincipalId)) {
  name: guid(iotHub.id, deployerPrincipalId, roles.iotHubDataContributor.id)
  scope: iotHub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.iotHubDataContributor.id)
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
  }
}
