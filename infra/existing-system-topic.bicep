metadata description = 'For a hub that has a system topic already: that topic delivers device events to the app of this resource group.'

import { tagsType } from 'types.bicep'

@description('ARM id of the system topic, which has a system-assigned identity.')
param topicId string

@description('Storage account of the app.')
param storageAccountName string

@description('Tags of the alerts.')
param tags tagsType = resourceGroup().tags

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string = ''

@description('Address of the runbook.')
param runbookUrl string = 'docs/runbook.md'

var eventQueueName = 'device-events'
var deadLetterContainerName = 'event-dead-letters'

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: last(split(topicId, '/'))
  scope: resourceGroup(split(topicId, '/')[2], split(topicId, '/')[4])
}

module delivery 'modules/event-delivery.bicep' = {
  name: 'delivery-${uniqueString(topicId)}'
  params: {
    topicId: topicId
    topicPrincipalId: topic.identity.principalId
    eventTypes: [
      'Microsoft.Devices.DeviceCreated'
      'Microsoft.Devices.DeviceDeleted'
    ]
    storageAccountName: storageAccountName
    queueName: eventQueueName
    deadLetterContainerName: deadLetterContainerName
    tags: tags
    actionGroupId: actionGroupId
    runbookUrl: runbookUrl
  }
}
