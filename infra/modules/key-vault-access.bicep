metadata description = 'The app may keep passwords in one vault, and deletes none.'

@description('Name of the vault, in the resource group of this deployment.')
param vaultName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment, so that each stage has a role of its own.')
param environmentName string

var role = loadJsonContent('../vault-role.json')
var group = resourceGroup().id

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

// In the vault's own resource group: it cannot be assigned anywhere else.
resource vaultRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, vaultName, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${vaultName} ${environmentName}'
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
  name: guid(vault.id, appPrincipalId, vaultRole.id)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', vaultRole.name)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}
