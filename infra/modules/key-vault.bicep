metadata description = 'The Key Vault of passwords. It is written here because Key Vault retires the API version of its Verified Module.'

import { tagsType } from '../types.bicep'

@description('Name of the vault.')
param name string

@description('Region of the vault.')
param location string

@description('Tags of the vault and its private endpoint.')
param tags tagsType

@description('Whether to recover a soft-deleted vault of this name.')
param recover bool

@description('ARM id of the Log Analytics workspace for the audit log.')
param workspaceId string

@description('Whether the vault accepts traffic from its private endpoint only.')
param privateNetworking bool

@description('ARM id of the subnet of the private endpoint. Empty without private networking.')
param endpointSubnetId string

@description('ARM id of the DNS zone of the private endpoint. Empty without private networking.')
param zoneId string

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    createMode: recover ? 'recover' : 'default'
    enableRbacAuthorization: true
    accessPolicies: []
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: privateNetworking ? 'Deny' : 'Allow'
      bypass: 'None'
      ipRules: []
      virtualNetworkRules: []
    }
  }
}

#disable-next-line use-recent-api-versions // no stable version has workspaces
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

module endpoint 'br/public:avm/res/network/private-endpoint:0.12.1' = if (privateNetworking) {
  name: 'vault-endpoint'
  params: {
    name: 'pep-${name}'
    location: location
    tags: tags
    enableTelemetry: false
    subnetResourceId: endpointSubnetId
    privateLinkServiceConnections: [
      {
        name: name
        properties: {
          privateLinkServiceId: vault.id
          groupIds: ['vault']
        }
      }
    ]
    privateDnsZoneGroup: {
      privateDnsZoneGroupConfigs: [
        { privateDnsZoneResourceId: zoneId }
      ]
    }
  }
}

@description('Address of the vault.')
output uri string = vault.properties.vaultUri
