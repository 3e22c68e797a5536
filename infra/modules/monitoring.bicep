metadata description = 'A workbook on the state of the devices, and alert rules with links to the runbook.'

import { tagsType } from '../types.bicep'

@description('Prefix of the names of the alert rules.')
@minLength(1)
@maxLength(60)
param namePrefix string

@description('Region of the workspace.')
param location string

@description('Tags of these resources.')
param tags tagsType

@description('Name of the Log Analytics workspace of the Application Insights component.')
param workspaceName string

@description('Retention of telemetry in days.')
@minValue(30)
@maxValue(730)
param telemetryDays int

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string = ''

@description('Address of the runbook. Each alert adds its anchor.')
param runbookUrl string = 'docs/runbook.md'

@description('Hours without an acknowledgement of a delivery until an alert fires.')
@minValue(1)
@maxValue(2000)
param unansweredHours int = 72

@description('Percentage of free clients at or below which a site is nearly full.')
@minValue(0)
@maxValue(100)
param freePercent int = 10

@description('Number of throttled reconciles in 15 minutes above which an alert fires.')
@minValue(0)
@maxValue(10000)
param throttledLooks int = 50

var alerts = loadJsonContent('../monitoring/alerts.json')
var workbookData = loadTextContent('../monitoring/workbook.json')

var telemetryTables = [
  'AppTraces'
  'AppMetrics'
  'AppRequests'
  'AppDependencies'
  'AppExceptions'
  'AppPerformanceCounters'
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

// Otherwise a table exists from its first row on, which queries fail without, and keeps 90 days.
@batchSize(1)
resource tables 'Microsoft.OperationalInsights/workspaces/tables@2025-07-01' = [
  for table in telemetryTables: {
    parent: workspace
    name: table
    properties: {
      plan: 'Analytics'
      retentionInDays: telemetryDays
      totalRetentionInDays: telemetryDays
    }
  }
]

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in alerts: {
    name: '${namePrefix}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'firstpull - ${alert.title}'
      description: 'What to do: ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      scopes: [workspace.id]
      // Azure would validate the query while the new tables do not resolve everywhere yet.
      skipQueryValidation: true
      evaluationFrequency: alert.every
      windowSize: alert.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            // A query returns rows only if somebody has to act.
            query: replace(
              replace(
                replace(join(alert.query, '\n'), '{unansweredSeconds}', string(unansweredHours * 3600)),
                '{freePercent}',
                string(freePercent)
              ),
              '{throttledLooks}',
              string(throttledLooks)
            )
            timeAggregation: 'Count'
            // Each value of a dimension fires separately, so that a lasting alert hides no new one.
            dimensions: map(alert.dimensions, column => {
              name: column
              operator: 'Include'
              values: ['*']
            })
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(actionGroupId) ? [] : [actionGroupId]
        customProperties: {
          runbook: '${runbookUrl}#${alert.name}'
        }
      }
    }
    dependsOn: [tables]
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'firstpull')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'firstpull'
    category: 'workbook'
    sourceId: workspace.id
    serializedData: replace(workbookData, 'WORKSPACE_ID', workspace.id)
    version: '1.0'
  }
}

@description('ARM id of the workbook.')
output workbookId string = workbook.id
