metadata description = 'A virtual network with subnets for the app and for private endpoints, and the DNS zones.'

import { tagsType } from '../types.bicep'

@description('ARM ids by service.')
type zoneIdsType = {
  @description('ARM id of the DNS zone of this service.')
  *: string
}

@description('Name of the virtual network.')
param name string

@description('Region of the network.')
param location string

@description('Tags of the network and its zones.')
param tags tagsType

@description('Address range of the network. The app\'s subnet is the first half.')
param addressPrefix string

@description('ARM id of a NAT gateway for outbound traffic. Empty: the outbound access of the platform.')
param natGatewayId string

var privateZones = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  vault: 'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
}

module network 'br/public:avm/res/network/virtual-network:0.10.1' = {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    enableTelemetry: false
    addressPrefixes: [addressPrefix]
    subnets: [
      {
        name: 'app'
        addressPrefix: cidrSubnet(addressPrefix, 25, 0)
        delegation: 'Microsoft.App/environments'
        natGatewayResourceId: empty(natGatewayId) ? null : natGatewayId
      }
      {
        name: 'endpoints'
        addressPrefix: cidrSubnet(addressPrefix, 25, 1)
      }
    ]
  }
}

module zones 'br/public:avm/res/network/private-dns-zone:0.8.1' = [
  for zone in items(privateZones): {
    name: 'zone-${zone.key}'
    params: {
      name: zone.value
      location: 'global'
      tags: tags
      enableTelemetry: false
      virtualNetworkLinks: [
        {
          virtualNetworkResourceId: network.outputs.resourceId
        }
      ]
    }
  }
]

@description('ARM id of the subnet of the app.')
output appSubnetId string = network.outputs.subnetResourceIds[0]

@description('ARM id of the subnet of the private endpoints.')
output endpointSubnetId string = network.outputs.subnetResourceIds[1]

@description('ARM ids of the DNS zones by service.')
output zoneIds zoneIdsType = toObject(
  items(privateZones),
  zone => zone.key,
  zone => resourceId('Microsoft.Network/privateDnsZones', zone.value)
)
