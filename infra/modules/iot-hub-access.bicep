metadata description = 'The app may read identities and twins of one IoT Hub, and write its twins.'

@description('Name of the IoT Hub, in the resource group of this deployment.')
param hubName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment, so that each stage has a role of its own.')
param environmentName string

var role = loadJsonContent('../iot-hub-role.json')
var group = resourceGroup().id

resource hub 'Microsoft.Devices/IotHubs@2023-06-30' existing = {
  name: hubName
}

// In the hub's own resource group: it cannot be assigned anywhere else.
resource iotHubRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, hubName, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${hubName} ${environmentName}'
    description: role.Description
    type: 'CustomRole'
    permissions: [
      {
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

@description('Region of the hub: a system topic lives in the region of its source.')
output location string = hub.location
