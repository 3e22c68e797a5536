metadata description = 'The event subscription of one system topic.'

@description('Name of the system topic, in the resource group of this deployment.')
param topicName string

@description('Name of the event subscription. A topic may have one of each environment.')
param name string

@description('Event types that the app handles.')
param eventTypes string[]

@description('ARM id of the storage account of the app.')
param storageAccountId string

@description('Queue for the events.')
param queueName string

@description('Blob container for dead letters.')
param deadLetterContainerName string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

// Behind a storage firewall, Event Grid delivers only with the topic's system-assigned identity.
resource eventSubscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
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
          resourceId: storageAccountId
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
          resourceId: storageAccountId
          blobContainerName: deadLetterContainerName
        }
      }
    }
  }
}
