metadata description = 'A system topic delivers events of one hub or vault to the queue device-events.'

import { tagsType } from '../types.bicep'

@description('Name of the system topic. Azure allows one system topic for each source.')
param name string

@description('Region of the source.')
param location string

@description('Tags of the system topic and its alerts.')
param tags tagsType

@description('ARM id of the hub or vault.')
param sourceId string

@description('Topic type of the source.')
@allowed(['Microsoft.Devices.IoTHubs', 'Microsoft.KeyVault.vaults'])
param topicType string

@description('Event types that the app handles.')
param eventTypes string[]

@description('Storage account of the app, in the resource group of this deployment.')
param storageAccountName string

@description('Queue for the events.')
param queueName string

@description('Blob container for dead letters.')
param deadLetterContainerName string

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string

@description('Address of the runbook.')
param runbookUrl string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: sourceId
    topicType: topicType
  }
}

module delivery 'event-delivery.bicep' = {
  name: 'delivery-${uniqueString(topic.id)}'
  params: {
    topicId: topic.id
    topicPrincipalId: topic.identity.principalId
    eventTypes: eventTypes
    storageAccountName: storageAccountName
    queueName: queueName
    deadLetterContainerName: deadLetterContainerName
    tags: tags
    actionGroupId: actionGroupId
    runbookUrl: runbookUrl
  }
}
