# Tells SyTest how to make a Meridian: `run-tests.pl -I Meridian --meridian-binary PATH`.
package SyTest::HomeserverFactory::Meridian;

use strict;
use warnings;

use base qw( SyTest::HomeserverFactory );

require SyTest::Homeserver::Meridian;
require SyTest::Meridian::Tests;

sub _init
{
   my $self = shift;
   $self->{args} = { binary => "../target/release/meridian", engine => "fjall" };
   $self->SUPER::_init( @_ );
}

sub implementation_name { "meridian" }

sub get_options
{
   my $self = shift;
   return (
      'meridian-binary=s' => \$self->{args}{binary},
      'meridian-engine=s' => \$self->{args}{engine},
      $self->SUPER::get_options(),
   );
}

sub print_usage
{
   print STDERR <<"USAGE";
   --meridian-binary PATH   - the server's binary
   --meridian-engine NAME   - its storage engine (fjall, sled or memory)
USAGE
}

sub create_server
{
   my $self = shift;
   return SyTest::Homeserver::Meridian->new( @_, %{ $self->{args} } );
}

1;
