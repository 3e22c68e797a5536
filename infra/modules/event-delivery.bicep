metadata description = 'A system topic delivers events to the queue device-events with its own identity, and alerts tell of those that it could not.'

import { tagsType } from '../types.bicep'

@description('ARM id of the system topic, which has a system-assigned identity.')
param topicId string

@description('Object id of that identity.')
param topicPrincipalId string

@description('Event types that the app handles.')
param eventTypes string[]

@description('Storage account of the app, in the resource group of this deployment.')
param storageAccountName string

@description('Queue for the events.')
param queueName string

@description('Blob container for dead letters.')
param deadLetterContainerName string

@description('Tags of the alerts.')
param tags tagsType

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string

@description('Address of the runbook.')
param runbookUrl string

var runbook = '${runbookUrl}#events-dead-lettered'
var roles = loadJsonContent('../roles.json')

resource storage 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: storageAccountName

  resource queues 'queueServices' existing = {
    name: 'default'
  }

  resource blobs 'blobServices' existing = {
    name: 'default'
  }
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2026-06-01' existing = {
  parent: storage::queues
  name: queueName
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2026-06-01' existing = {
  parent: storage::blobs
  name: deadLetterContainerName
}

resource mayFillTheQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, topicId, roles.storageQueueDataMessageSender.id)
  scope: queue
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataMessageSender.id)
    principalId: topicPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource mayKeepDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadLetters.id, topicId, roles.storageBlobDataContributor.id)
  scope: deadLetters
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor.id)
    principalId: topicPrincipalId
    principalType: 'ServicePrincipal'
  }
}

module eventSubscription 'event-subscription.bicep' = {
  name: 'event-subscription-${uniqueString(topicId, storage.id)}'
  scope: resourceGroup(split(topicId, '/')[2], split(topicId, '/')[4])
  params: {
    topicName: last(split(topicId, '/'))
    name: 'firstpull-${uniqueString(storage.id)}'
    eventTypes: eventTypes
    storageAccountId: storage.id
    queueName: queueName
    deadLetterContainerName: deadLetterContainerName
  }
  dependsOn: [mayFillTheQueue, mayKeepDeadLetters]
}

// A dead-lettered event is in the container, a dropped one is lost. Azure alerts within a subscription.
resource lostEvents 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for metric in ['DeadLetteredCount', 'DroppedEventCount']: if (split(topicId, '/')[2] == subscription().subscriptionId) {
    name: '${last(split(topicId, '/'))}-${metric}'
    location: 'global'
    tags: tags
    properties: {
      description: 'firstpull: events could not be delivered. What to do: ${runbook}'
      severity: 3
      enabled: true
      scopes: [topicId]
      evaluationFrequency: 'PT15M'
      windowSize: 'PT1H'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: 'events'
            metricNamespace: 'Microsoft.EventGrid/systemTopics'
            metricName: metric
            timeAggregation: 'Total'
            operator: 'GreaterThan'
            threshold: 0
          }
        ]
      }
      actions: empty(actionGroupId)
        ? []
        : [
            {
              actionGroupId: actionGroupId
              webHookProperties: {
                runbook: runbook
              }
            }
          ]
    }
  }
]
