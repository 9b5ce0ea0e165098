//! Log configurations that set the level of the daemon's log.

use clap::ValueEnum;

use super::daemon::LogSystem;

/// The lowest level that the log shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Off,
}

/// Returns the name and text of a configuration file.
pub(crate) fn configuration(system: LogSystem, level: Level) -> (&'static str, String) {
    match system {
        LogSystem::Logback => ("logback.xml", logback(level)),
        LogSystem::JavaUtil => ("logging.properties", java_util(level)),
    }
}

/// Its lines have the daemon's own format, so that tools which parse them still work.
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
    // The handler has its own level, which is INFO by default.
    format!(
        "handlers=java.util.logging.ConsoleHandler\n.level={level}\n\
         java.util.logging.ConsoleHandler.level={level}\n"
    )
}
