metadata description = 'Event Grid tells the queue device-events what happens in one hub or vault.'

@description('Name of the system topic. Azure allows one system topic for each source.')
param name string

@description('Region of the source.')
param location string

@description('Tags of the system topic.')
param tags object

@description('ARM id of the hub or vault.')
param sourceId string

@description('Kind of the source, as Event Grid calls it.')
@allowed(['Microsoft.Devices.IoTHubs', 'Microsoft.KeyVault.vaults'])
param topicType string

@description('The events that the app acts on.')
param eventTypes string[]

@description('Storage account of the app, in the resource group of this deployment.')
param storageAccountName string

@description('Queue that the events go to.')
param queueName string

@description('Container of the events that could not be delivered.')
param deadLetterContainerName string

@description('ARM id of the action group that is told of events that are lost. None leaves it to the portal.')
param actionGroupId string

@description('Where the runbook is to be read.')
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
  // Behind a storage firewall, Event Grid delivers with the topic's own identity only.
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
    // A day, as often as Event Grid allows. What is lost after that, the sweep finds.
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

// Kept in the container, or not even that.
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
