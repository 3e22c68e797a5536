metadata description = 'The app may read what surrounds its resources in one resource group.'

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment. Each has a role definition of its own.')
param environmentName string

var role = loadJsonContent('../doctor-role.json')
var group = resourceGroup().id

// Its assignable scope is this resource group only.
resource doctorRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${resourceGroup().name} ${environmentName}'
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
  name: guid(group, appPrincipalId, doctorRole.id)
  scope: resourceGroup()
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', doctorRole.name)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}
