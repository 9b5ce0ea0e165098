//! The daemon's log at a chosen level, without the user writing a configuration.

use clap::ValueEnum;

use super::daemon::LogSystem;

/// What is left out of the log: everything below this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Off,
}

/// A configuration file's name and text.
pub(crate) fn configuration(system: LogSystem, level: Level) -> (&'static str, String) {
    match system {
        LogSystem::Logback => ("logback.xml", logback(level)),
        LogSystem::JavaUtil => ("logging.properties", java_util(level)),
    }
}

/// The shape of a line is the daemon's own, so that tools which read it go on working.
fn logback(level: Level) -> String {
    let level = match level {
        Level::Trace => "TRACE",
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
        Level::Off => "OFF",
    };
    format!(
        r#"<configuration>
  <appender name="CONSOLE" class="ch.qos.logback.core.ConsoleAppender">
    <encoder>
      <pattern>%d [%thread] %-5level %logger{{36}} [%mdc{{ShardId:-NONE}}] - %msg %n</pattern>
    </encoder>
  </appender>
  <root level="{level}">
    <appender-ref ref="CONSOLE"/>
  </root>
</configuration>
"#
    )
}

fn java_util(level: Level) -> String {
    let level = match level {
        Level::Trace => "FINEST",
        Level::Debug => "FINE",
        Level::Info => "INFO",
        Level::Warn => "WARNING",
        Level::Error => "SEVERE",
        Level::Off => "OFF",
    };
    // The handler has a level of its own, which is INFO unless set.
    format!(
        "handlers=java.util.logging.ConsoleHandler\n.level={level}\n\
         java.util.logging.ConsoleHandler.level={level}\n"
    )
}
