metadata description = 'The app may write, read and disable secrets of one vault, and delete none.'

@description('Name of the vault, in the resource group of this deployment.')
param vaultName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Name of the azd environment. Each has a role definition of its own.')
param environmentName string

var role = loadJsonContent('../vault-role.json')
var group = resourceGroup().id

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: vaultName
}

// Its assignable scope is the vault's resource group only.
resource vaultRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(group, vaultName, environmentName, role.Name)
  properties: {
    roleName: '${role.Name} ${vaultName} ${environmentName}'
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
  name: guid(vault.id, appPrincipalId, vaultRole.id)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', vaultRole.name)
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}
