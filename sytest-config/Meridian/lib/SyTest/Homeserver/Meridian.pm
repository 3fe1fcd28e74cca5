# One Meridian under test: a fresh data directory, TLS with a certificate of SyTest's authority,
# rate limits off.
package SyTest::Homeserver::Meridian;

use strict;
use warnings;

use base qw( SyTest::Homeserver );

use Carp;
use Cwd qw( getcwd );
use File::Path qw( make_path remove_tree );
use File::Temp qw( tempdir );
use SyTest::Identity::Server;
use SyTest::MailServer::Protocol;
use SyTest::SSL qw( ensure_ssl_key create_ssl_cert );

# Its mail server knows the greeting of 1982 only.
*SyTest::MailServer::Protocol::on_EHLO = \&SyTest::MailServer::Protocol::on_HELO;

# SyTest's identity servers sign their certificate themselves, for no name: nobody who checks
# certificates talks to them. They get one of SyTest's authority.
{
   my $listen = SyTest::Identity::Server->can( 'listen' );
   my $dir = tempdir( CLEANUP => 1 );
   *SyTest::Identity::Server::listen = sub {
      my ( $self, %args ) = @_;
      my ( $certificate, $key ) = ( "$dir/identity.crt", "$dir/identity.key" );
      ensure_ssl_key( $key );
      create_ssl_cert( $certificate, $key, $args{host} );
      return $self->$listen( %args, SSL_cert_file => $certificate, SSL_key_file => $key );
   };
}

sub _init
{
   my $self = shift;
   my ( $args ) = @_;

   $self->{$_} = delete $args->{$_} for qw( binary engine );
   defined $self->{binary} or croak "Need a binary";

   $self->SUPER::_init( $args );
   $self->{ports} = { tls => main::alloc_port( "meridian[$self->{hs_index}]" ) };
}

sub server_name
{
   my $self = shift;
   return "$self->{bind_host}:" . $self->secure_port;
}

sub secure_port { $_[0]->{ports}{tls} }

sub federation_port { $_[0]->secure_port }

sub federation_host { $_[0]->{bind_host} }

sub public_baseurl
{
   my $self = shift;
   return "https://" . $self->server_name;
}

sub start
{
   my $self = shift;

   my $dir = $self->{hs_dir};
   my ( $certificate, $key ) = ( "$dir/tls.crt", "$dir/tls.key" );
   ensure_ssl_key( $key );
   create_ssl_cert( $certificate, $key, $self->{bind_host} );
   remove_tree( "$dir/data" );
   make_path( "$dir/data" );

   my $mail = $self->{smtp_server_config};
   my $captcha = $self->{recaptcha_config};
   my %env = (
      PATH                              => $ENV{PATH},
      MERIDIAN_SERVER_NAME              => $self->server_name,
      MERIDIAN_LISTEN                   => "127.0.0.1:" . $self->secure_port,
      MERIDIAN_DATA_DIR                 => "$dir/data",
      MERIDIAN_STORAGE__ENGINE          => $self->{engine},
      MERIDIAN_STORAGE__LOW_WATER_MIB   => 0,
      MERIDIAN_TLS__CERTIFICATE         => $certificate,
      MERIDIAN_TLS__PRIVATE_KEY         => $key,
      MERIDIAN_REGISTRATION__SHARED_SECRET => "reg_secret",
      MERIDIAN_REGISTRATION__GUESTS     => "true",
      MERIDIAN_RATE_LIMITS__ENABLED     => "false",
      MERIDIAN_PUBLIC_URL               => $self->public_baseurl,
      MERIDIAN_MAIL__HOST               => $mail->{host},
      MERIDIAN_MAIL__PORT               => $mail->{port},
      MERIDIAN_MAIL__SECURITY           => "none",
      MERIDIAN_MAIL__FROM               => 'Meridian <noreply@example.com>',
      # SyTest's own servers have certificates of its authority and live on loopback.
      MERIDIAN_FEDERATION__CERTIFICATE_AUTHORITIES => "['" . getcwd() . "/keys/ca.crt']",
      MERIDIAN_FEDERATION__ALLOWED_ADDRESSES => "['127.0.0.0/8', '::1/128']",
      MERIDIAN_FEDERATION__RETRY_MIN_SECONDS => 1,
      MERIDIAN_FEDERATION__PRESENCE_SECONDS => 1,
      # Later versions have event ids that SyTest cannot compute.
      MERIDIAN_ROOMS__DEFAULT_VERSION   => "'10'",
      MERIDIAN_LOGIN__JWT__ENABLED      => "false",
      # A test of muted rooms waits for a mention of old.
      MERIDIAN_PUSH__LEGACY_MENTIONS    => "true",
      MERIDIAN_LOGIN__CAS__SERVER_URL   => $self->{cas_config}{server_url},
      # A user who has registered comes by CAS under the same name.
      MERIDIAN_LOGIN__CAS__ALLOW_EXISTING_USERS => "true",
      MERIDIAN_CAPTCHA__PUBLIC_KEY      => $captcha->{public_key},
      MERIDIAN_CAPTCHA__PRIVATE_KEY     => $captcha->{private_key},
      MERIDIAN_CAPTCHA__VERIFY_URL      => $captcha->{siteverify_api},
   );

   # SyTest writes the registrations, and says where they are before it starts the server.
   if( my $files = $self->{app_service_config_files} ) {
      $env{MERIDIAN_APPSERVICES__REGISTRATIONS} = "[" . join( ", ", map { "'$_'" } @$files ) . "]";
   }

   return $self->_start_process_and_await_connectable(
      setup        => [ env => \%env ],
      command      => [ $self->{binary} ],
      connect_host => $self->{bind_host},
      connect_port => $self->secure_port,
      name         => "meridian-$self->{hs_index}",
   )->else( sub {
      die "Unable to start Meridian: $_[0]\n";
   });
}

1;
