metadata description = 'The app may manage the tokens, scope maps and clients of one container registry.'

@description('Name of the container registry, in the resource group of this deployment.')
param registryName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment. Each has a role definition of its own.')
param environmentName string

var role = loadJsonContent('../role.json')
var group = resourceGroup().id

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: registryName
}

// Its assignable scope is the registry's resource group only.
resource containerRegistryRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, registryName, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${registryName} ${environmentName}'
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
  name: guid(registry.id, appPrincipalId, containerRegistryRole.id)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', containerRegistryRole.name)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}
