metadata description = 'Event Grid delivers events of one hub or vault to the queue device-events.'

@description('Name of the system topic. Azure allows one system topic for each source.')
param name string

@description('Region of the source.')
param location string

@description('Tags of the system topic.')
param tags object

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

var runbook = '${runbookUrl}#events-dead-lettered'
var roles = loadJsonContent('../roles.json')

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName

  resource queues 'queueServices' existing = {
    name: 'default'
  }

  resource blobs 'blobServices' existing = {
    name: 'default'
  }
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' existing = {
  parent: storage::queues
  name: queueName
}

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: storage::blobs
  name: deadLetterContainerName
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  // Behind a storage firewall, Event Grid delivers only with the topic's system-assigned identity.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: sourceId
    topicType: topicType
  }
}

resource mayFillTheQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(queue.id, topic.id, roles.storageQueueDataMessageSender.id)
  scope: queue
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageQueueDataMessageSender.id)
    principalId: topic.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource mayKeepDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(deadLetters.id, topic.id, roles.storageBlobDataContributor.id)
  scope: deadLetters
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataContributor.id)
    principalId: topic.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource eventSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'firstpull'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: eventTypes
    }
    deliveryWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      destination: {
        endpointType: 'StorageQueue'
        properties: {
          resourceId: storage.id
          queueName: queueName
        }
      }
    }
    // The maximum that Event Grid allows. The sweep finds what a lost event would have told.
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storage.id
          blobContainerName: deadLetterContainerName
        }
      }
    }
  }
  dependsOn: [mayFillTheQueue, mayKeepDeadLetters]
}

// A dead-lettered event is in the container, a dropped one is lost.
resource lostEvents 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for metric in ['DeadLetteredCount', 'DroppedEventCount']: {
    name: '${name}-${metric}'
    location: 'global'
    tags: tags
    properties: {
      description: 'firstpull: events could not be delivered. What to do: ${runbook}'
      severity: 3
      enabled: true
      scopes: [topic.id]
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
