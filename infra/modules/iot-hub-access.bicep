metadata description = 'The app may read identities and twins of one IoT Hub, and write its twins.'

@description('Name of the IoT Hub, in the resource group of this deployment.')
param hubName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment. Each has a role definition of its own.')
param environmentName string

var role = loadJsonContent('../iot-hub-role.json')
var group = resourceGroup().id

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' existing = {
  name: hubName
}

// Its assignable scope is the hub's resource group only.
resource iotHubRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, hubName, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${hubName} ${environmentName}'
    description: role.Description
    type: 'CustomRole'
    permissions: [
      {
        actions: role.Actions
        dataActions: role.DataActions
      }
    ]
    assignableScopes: [group]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hub.id, appPrincipalId, iotHubRole.id)
  scope: hub
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', iotHubRole.name)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

@description('Region of the hub. Its system topic must be in the same region.')
output location string = hub.location
